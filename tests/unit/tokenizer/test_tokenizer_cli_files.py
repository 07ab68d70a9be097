"""What the commands do with odd names, outputs that hold something, devices, pipes and signals."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tokenizer

from alit import TokenSet
from alit.cli import main
from alit.commands import file_name
from alit.errors import ConfigError, DataError, TokenFileError, run_command
from alit.files import name_to_text, text_to_name, write_whole
from alit.tokenizer.tokens import unpack

ODD_NAMES = [b"caf\xe9.png", b"a\nb.png", b"a\rb.png", b" .png", b"a\\xe9.png", b"\\x5c.png", b"-o.png", b"'\".png"]
ODD_NAMES += ["\u202e\U0001f600\N{COMBINING ACUTE ACCENT}.png".encode(), b"\xff\xfe" * 60 + b".png"]
LONG_NAMES = [("\U0001f600" * 62 + ".png").encode(), b"x" * 251 + b".png"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def odd_model(model, tmp_path_factory):
    """The same in a folder whose name is not UTF-8."""
    return shutil.copytree(model, tmp_path_factory.mktemp("odd") / os.fsdecode(b"caf\xe9"))


def encode(model, *arguments):
    main(["encode", *map(str, arguments), "-m", model, "--length", "2"])


@pytest.mark.parametrize("name", ODD_NAMES + LONG_NAMES)
def test_any_name_becomes_text_and_back(name):
    decoded = os.fsdecode(name)
    text = name_to_text(decoded)
    assert text.encode().decode() == text
    assert text_to_name(text) == decoded
    assert os.fsencode(decoded) == name


def test_names_that_are_text_stay_as_they_are():
    for name in ("café.png", "a\\b.png", "a\\xzz.png", "\\x", "日本.png"):
        assert name_to_text(name) == name
    assert len({name_to_text(os.fsdecode(name)) for name in ODD_NAMES}) == len(ODD_NAMES)


def test_files_of_any_name_are_encoded_described_and_decoded(model, picture, tmp_path, capsys):
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    names = ODD_NAMES + LONG_NAMES
    for name in names:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(picture.read_bytes())
    encode(model, os.fsdecode(folder), "-o", tmp_path / "t.alit")
    main(["info", str(tmp_path / "t.alit")])
    main(["decode", str(tmp_path / "t.alit"), "-o", str(tmp_path / "out"), "-m", model])
    assert capsys.readouterr().out.count(f"{len(names)} images") == 2
    assert len(list((tmp_path / "out").iterdir())) == len(names)
    kept = unpack((tmp_path / "t.alit").read_bytes(), source="x").names
    assert {os.fsencode(text_to_name(name)) for name in kept} == set(names)


def test_a_data_set_of_any_names_is_tokenized(odd_model, picture, tmp_path):
    folder = tmp_path / os.fsdecode(b"odd\xe9")
    model = str(odd_model)
    out = tmp_path / os.fsdecode(b"t\xe9")
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(picture.read_bytes())
    (folder / os.fsdecode(b"b\xe4d.png")).write_bytes(b"")
    with pytest.raises(DataError, match="1 of"):
        main(["tokenize", str(folder), str(out), "-m", model, "--length", "2", "--rejected-share", "0.5"])
    assert len(TokenSet.load(out)) == len(ODD_NAMES)
    assert "b\\xe4d.png,not an image" in (out / "_rejected.csv").read_text()
    with pytest.raises(ConfigError, match="expected an output outside of"):
        main(["tokenize", str(folder), str(folder / "t"), "-m", model, "--length", "2"])
    assert not (folder / "t").exists()


def test_decoded_names_fit_a_file_system_and_differ():
    names = ["\U0001f600" * 300, "\u0e01" * 250, "e\u0301" * 200, "x" * 1000, "\udce9" * 99, "a/b/..", "\0", "CON", ""]
    found = [file_name(row, name) for row, name in enumerate(names * 2)]
    assert len(set(found)) == len(found)
    assert all(len(os.fsencode(name)) <= 143 and "/" not in name and "\0" not in name for name in found)


def test_a_list_of_paths_may_have_any_bytes(model, picture, tmp_path, monkeypatch, capsys):
    odd = tmp_path / os.fsdecode(b"caf\xe9\r")
    odd.write_bytes(picture.read_bytes())
    lists = {
        "plain": os.fsencode(odd) + b"\n" + os.fsencode(picture) + b"\r\n\r\n",
        "bom": b"\xef\xbb\xbf" + os.fsencode(picture) + b"\n" + os.fsencode(odd),
        "nul": os.fsencode(odd) + b"\0" + os.fsencode(picture) + b"\0",
    }
    for content in lists.values():
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        encode(model, "-", "-o", tmp_path / "t.alit")
        assert capsys.readouterr().out.startswith("2 images")
    for content, reason in (("a.png".encode("utf-16"), "UTF-16"), (None, "closed")):
        stream = None if content is None else io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(DataError, match=reason):
            encode(model, "-", "-o", tmp_path / "t.alit")


def test_strict_stops_at_the_first_unreadable_picture(model, picture, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no")
    with pytest.raises(DataError, match=r"bad\.png: not an image$"):
        encode(model, bad, picture, "-o", tmp_path / "t.alit", "--strict")
    assert not (tmp_path / "t.alit").exists()


def test_no_input_is_written_over(model, picture, tmp_path):
    before = picture.read_bytes()
    (tmp_path / "link.png").symlink_to(picture)
    os.link(picture, tmp_path / "hard.png")
    other = tmp_path / "b.png"
    other.write_bytes(before)
    for output in (picture, tmp_path / "link.png", tmp_path / "hard.png", tmp_path / "." / "a.png"):
        with pytest.raises(ConfigError, match="none of the inputs"):
            encode(model, other, picture, "-o", output)
    assert picture.read_bytes() == before
    encode(model, other, picture, "-o", picture, "--force")
    assert len(TokenSet.load(picture)) == 2


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm that can be written to")
def test_a_file_in_shared_memory_is_a_file(model, picture):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        copy = Path(folder) / "a.png"
        copy.write_bytes(picture.read_bytes())
        with pytest.raises(ConfigError, match="none of the inputs"):
            encode(model, copy, "-o", copy)
        assert copy.read_bytes() == picture.read_bytes()


def test_no_file_of_another_kind_is_written_over(model, picture, tmp_path):
    for place in (tmp_path / "notes.txt", Path(model) / "config.json"):
        if not place.exists():
            place.write_text("mine")
        before = place.read_bytes()
        with pytest.raises(ConfigError, match="found another file"):
            encode(model, picture, "-o", place)
        assert place.read_bytes() == before
    (tmp_path / "empty").touch()
    encode(model, picture, "-o", tmp_path / "empty")  # as mktemp makes it
    encode(model, picture, "-o", tmp_path / "empty")  # a token file again
    encode(model, picture, "-o", tmp_path / "notes.txt", "--force")


def test_decoding_writes_over_pictures_alone(model, picture, tmp_path):
    out, tokens = tmp_path / "out", tmp_path / "t.alit"
    encode(model, picture, "-o", tokens)
    out.mkdir()
    (out / "00000-a.png").write_text("mine")
    with pytest.raises(ConfigError, match="found another file"):
        main(["decode", str(tokens), "-o", str(out), "-m", model])
    assert (out / "00000-a.png").read_text() == "mine"
    main(["decode", str(tokens), "-o", str(out), "-m", model, "--force"])
    main(["decode", str(tokens), "-o", str(out), "-m", model])


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    place = tmp_path / "t.alit"
    place.write_bytes(b"before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(place, b"after")
    assert place.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["t.alit"]


def test_a_full_device_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda _: write_whole(Path("/dev/full"), b"content"), [])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: cannot use /dev/full: No space left on device")


@pytest.mark.parametrize(("place", "code"), [("/dev/full", 2), ("pipe", 141)])
def test_a_standard_error_that_takes_no_more_ends_without_a_trace(place, code, monkeypatch):
    def refuse(_):
        raise DataError("odd")

    def warn(_):
        print("skipped 3 files", file=sys.stderr, flush=True)

    for command, expected in ((warn, code), (refuse, 2)):
        number, other = os.pipe() if place == "pipe" else (None, os.open(place, os.O_WRONLY))
        if number is not None:
            os.close(number)
        with open(other, "w", buffering=1) as stream, monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", stream)
            with pytest.raises(SystemExit) as ended:
                run_command(command, [])
        assert ended.value.code == expected


def test_a_file_keeps_its_link_and_its_mode(tmp_path):
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"after"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_never_replaced(model, picture):
    before = os.stat("/dev/null")
    encode(model, picture, "-o", "/dev/null")
    after = os.stat("/dev/null")
    assert (before.st_mode, before.st_ino, before.st_rdev) == (after.st_mode, after.st_ino, after.st_rdev)


def test_a_named_pipe_is_written_to(model, picture, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        encode(model, picture, "-o", tmp_path / "pipe")
        content, _ = reader.communicate(timeout=20)
    assert len(unpack(content, source="x").tokens) == 1
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "", "-o", "t", "-m", "m", "--length", "2"],
        ["encode", "a", "-o", "", "-m", "m", "--length", "2"],
        ["encode", "a", "-o", "t", "-m", "", "--length", "2"],
        ["encode", "a", "-o", "t", "-m", "m", "--length", "2", "--device", ""],
        ["decode", "", "-o", "t", "-m", "m"],
        ["decode", "t", "-o", "", "-m", "m"],
        ["info", ""],
        ["convert", "", "out"],
        ["convert", "a.pth", ""],
        ["bench", ""],
    ],
)
def test_an_empty_argument_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "found an empty one" in capsys.readouterr().err


def test_a_device_that_is_not_here_is_named_before_any_work(picture, tmp_path):
    for device in ("cuda:99", "cpu:7", "nonsense", "meta"):
        with pytest.raises(ConfigError, match=f"expected a torch device of this machine, found {device}"):
            main(
                [
                    "encode",
                    str(picture),
                    "-o",
                    str(tmp_path / "t"),
                    "-m",
                    "no/model",
                    "--length",
                    "2",
                    "--device",
                    device,
                ]
            )


def shell(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a command of bash in which $ALIT is the command line of this checkout; its pipe fails where a part does."""
    alit = f"{sys.executable} -m alit"
    script = f'set -o pipefail; alit() {{ {alit} "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_file_that_the_system_refuses_is_one_line(capsys):
    def use(name):
        return lambda _: open(name).close()

    for name in ("x" * 300, "/dev/null/x", os.fsdecode(b"caf\xe9/" + b"y" * 300)):
        with pytest.raises(SystemExit) as ended:
            run_command(use(name), [])
        found = capsys.readouterr().err
        assert (ended.value.code, found.count("\n")) == (2, 1)
        assert found.startswith("error: cannot use ")
    assert "caf\\xe9/" in found


def test_what_has_no_end_is_read_no_further_than_its_beginning():
    with pytest.raises(TokenFileError, match="it is not a token file"):
        main(["info", "/dev/zero"])


@pytest.mark.slow
def test_streams_end_as_is_conventional(model, picture, tmp_path):
    encode(model, picture, "-o", tmp_path / "t.alit")
    piped = shell(f"alit encode a.png -o /dev/stdout -m {model} --length 2 2>/dev/null | alit info -", tmp_path)
    assert (piped.returncode, piped.stdout[:8]) == (0, "1 images")
    closed = shell("alit info t.alit | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert closed.stdout.strip() in ("0", "141")  # by who is first
    assert "Traceback" not in closed.stderr + piped.stderr
    full = shell("alit info t.alit > /dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (2, "error: cannot write to standard output: No space left on device\n")
    gone = shell(f"alit encode a.png -o /dev/stdout -m {model} --length 2 | true; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert gone.stdout.strip() == "141"
    assert "rror" not in gone.stderr
    told = shell("alit info nosuch 2> /dev/full", tmp_path)
    assert (told.returncode, told.stdout + told.stderr) == (2, "")
    no_input = shell(f"alit encode - -o x -m {model} --length 2 <&-", tmp_path)
    assert (no_input.returncode, no_input.stderr.count("\n")) == (2, 1)
    no_output = shell("alit info t.alit >&-", tmp_path)
    assert (no_output.returncode, no_output.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.6])
def test_ctrl_c_leaves_no_trace(seconds, model, picture, tmp_path):
    command = [sys.executable, "-m", "alit", "encode", *["a.png"] * 3000, "-o", "t", "-m", model, "--length", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, faults = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT, 0)
    assert "Traceback" not in faults


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.15, 0.5, 1.5])
def test_ctrl_c_leaves_no_trace_of_a_script_of_the_pipeline(seconds, tmp_path):
    command = [sys.executable, "-m", "experiments.check", "smoke"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[3],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, faults = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT, 0, 2)
    assert "Traceback" not in faults
