"""`alit encode` goes on where it was stopped: what is done is not encoded again, and what is written is the same."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tiny import tokenizer, tokenizer_config

from alit.cli import console, main
from alit.errors import DataError
from alit.tokenizer import pictures
from alit.tokenizer.batch import encode_batch
from alit.tokenizer.pictures import EncodedPicture, FinishedPictures, unfinished_file
from alit.tokenizer.tokens import unpack

WAYS = (["--length", "4"], ["--until-l1", "0.25"], ["--mean-length", "3.5"])
COUNT = 11


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    draw = np.random.default_rng(0)
    for index in range(COUNT):
        pixels = draw.integers(0, 256, (20, 16 + index, 3)) * (index % 3) // 2
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "in" / f"{index:02d}.png")
    return tmp_path


@pytest.fixture(params=[{}, {"quantize": False}], ids=["ids", "codes"])
def model(request, tmp_path):
    tokenizer(tokenizer_config(**request.param)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def encoded(monkeypatch):
    """How many images were encoded at a time; `stop_after` sets the batch that ends the command."""
    seen: list[int] = []

    def watch(tokenizer, images, config):
        if len(seen) == watch.stop_after:
            raise watch.by
        seen.append(len(images))
        return encode_batch(tokenizer, images, config)

    watch.seen, watch.stop_after, watch.by = seen, None, KeyboardInterrupt()
    monkeypatch.setattr(pictures, "encode_batch", watch)
    return watch


def run(folder, model, way, output="t.alit"):
    arguments = ["-o", str(folder / output), "-m", str(model), "--batch-size", "2", *way]
    main(["encode", str(folder / "in"), *arguments])
    return (folder / output).read_bytes()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_a_stopped_command_goes_on_and_writes_the_same(way, folder, model, encoded, capsys):
    whole = run(folder, model, way, "whole.alit")
    encoded.seen.clear()
    encoded.stop_after = 3
    with pytest.raises(KeyboardInterrupt, match="6 pictures are done, run the same command again to continue"):
        run(folder, model, way)
    assert not (folder / "t.alit").exists()
    encoded.seen.clear()
    encoded.stop_after = None
    assert run(folder, model, way) == whole
    assert encoded.seen == [2, 2, 1]
    assert "goes on after 6 pictures that are done" in capsys.readouterr().err
    assert not unfinished_file(folder / "t.alit").exists()


def test_a_changed_picture_alone_is_encoded_again_whatever_its_name_and_date(folder, model, encoded):
    encoded.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        run(folder, model, WAYS[0])
    changed, date = folder / "in" / "03.png", os.stat(folder / "in" / "03.png")
    Image.new("RGB", (20, 16), "red").save(changed)
    os.utime(changed, ns=(date.st_atime_ns, date.st_mtime_ns))
    (folder / "in" / "00.png").rename(folder / "in" / "zz.png")
    (folder / "in" / "01.png").unlink()
    encoded.seen.clear()
    encoded.stop_after = None
    found = unpack(run(folder, model, WAYS[0]), source="x")
    assert sum(encoded.seen) == 1 + COUNT - 8
    expected = unpack(run(folder, model, WAYS[0], "again.alit"), source="x")
    assert found.names == expected.names
    assert found.tokens == expected.tokens


def test_other_settings_and_other_weights_take_nothing_over(folder, model, encoded):
    encoded.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        run(folder, model, WAYS[0])
    tokenizer(seed=1).save_pretrained(folder / "other")
    for other, way in ((model, ["--length", "2"]), (model, WAYS[2]), (folder / "other", WAYS[0])):
        encoded.seen.clear()
        with pytest.raises(KeyboardInterrupt):
            run(folder, other, way)
        assert sum(encoded.seen) == 8
    encoded.seen.clear()
    encoded.stop_after = None
    run(folder, model, WAYS[0])
    assert sum(encoded.seen) == COUNT - 8


def test_equal_files_are_encoded_once_and_unreadable_ones_tried_again(folder, model, encoded):
    (folder / "in" / "copy.png").write_bytes((folder / "in" / "00.png").read_bytes())
    (folder / "in" / "bad.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"1 of 13 pictures could not be read.*bad\.png: not an image"):
        run(folder, model, WAYS[0])
    assert sum(encoded.seen) == COUNT
    assert len(unpack((folder / "t.alit").read_bytes(), source="x").tokens) == COUNT + 1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_record_that_was_cut_off_is_encoded_again(share, folder, model, encoded):
    whole = run(folder, model, WAYS[2], "whole.alit")
    encoded.stop_after = len(encoded.seen) + 3
    with pytest.raises(KeyboardInterrupt):
        run(folder, model, WAYS[2])
    kept = unfinished_file(folder / "t.alit")
    content = kept.read_bytes()
    kept.write_bytes(content[: int(len(content) * share)])
    encoded.stop_after += 2
    with pytest.raises(KeyboardInterrupt):
        run(folder, model, WAYS[2])
    encoded.stop_after = None
    assert run(folder, model, WAYS[2]) == whole


def test_damaged_records_are_passed_over(tmp_path):
    picture = EncodedPicture(np.arange(3), True, np.empty(0))
    finished = FinishedPictures(tmp_path / "f", "settings")
    for name in "abc":
        finished.add({name: picture})
    content = (tmp_path / "f").read_bytes()
    size = len(content) // 3
    (tmp_path / "f").write_bytes(content[: size + 200] + b"\0" + content[size + 201 :])
    again = FinishedPictures(tmp_path / "f", "settings")
    assert ["a" in again, "b" in again, "c" in again] == [True, False, True]
    assert np.array_equal(again["c"].values, picture.values)
    assert len(FinishedPictures(tmp_path / "f", "other settings")) == 0


def test_nothing_is_kept_beside_a_device_and_nothing_is_said(folder, model, encoded, monkeypatch, capsys):
    encoded.stop_after = 2
    command = ["alit", "encode", str(folder / "in"), "-o", "/dev/null", "-m", str(model), "--length", "2"]
    monkeypatch.setattr(sys, "argv", [*command, "--batch-size", "2"])
    with pytest.raises(SystemExit) as ended:
        console()
    assert ended.value.code == 130
    assert "again" not in capsys.readouterr().err


def test_a_pipe_is_read_where_the_shell_has_opened_it_and_refused_elsewhere(folder, model, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    arguments = ["-o", str(tmp_path / "t.alit"), "-m", str(model), "--length", "2"]
    with pytest.raises(DataError, match=r"pipe\.png: a folder, pipe or device, no file"):
        main(["encode", str(tmp_path / "pipe.png"), *arguments])
    read, write = os.pipe()
    os.write(write, (folder / "in" / "00.png").read_bytes())
    os.close(write)
    main(["encode", f"/dev/fd/{read}", str(folder / "in" / "00.png"), *arguments])
    os.close(read)
    one, two = unpack((tmp_path / "t.alit").read_bytes(), source="x").tokens
    assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}], indirect=True)
def test_a_killed_command_goes_on(folder, model, monkeypatch):
    draw = np.random.default_rng(1)
    for index in range(300):
        pixels = draw.integers(0, 256, (200, 200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "in" / f"more{index}.png", compress_level=0)
    command = [sys.executable, "-m", "alit.cli", "encode", "in", "-o", "t.alit", "-m", str(model)]
    command += ["--mean-length", "4", "--batch-size", "4"]
    kept = unfinished_file(folder / "t.alit")
    for rounds in range(2):
        before = kept.stat().st_size if kept.exists() else 0
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and (not kept.exists() or kept.stat().st_size < before + 20_000):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        faults = process.communicate()[1]
        assert "Traceback" not in faults
        assert rounds == 0 or re.search(r"goes on after \d+ pictures", faults)
        assert not (folder / "t.alit").exists()
    monkeypatch.chdir(folder)
    main(command[3:])
    main([*command[3:6], "whole.alit", *command[7:]])
    assert (folder / "t.alit").read_bytes() == (folder / "whole.alit").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["in", "model", "t.alit", "whole.alit"]
