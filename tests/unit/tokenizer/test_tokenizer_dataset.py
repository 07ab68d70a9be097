"""A data set becomes Parquet parts of the tokens that `encode` gives, whoever writes them and however often stopped."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from tiny import tokenizer, tokenizer_config

from alit import AdaptiveTokenizer, ReconstructionLoss, TokenSet, load_images
from alit.cli import main
from alit.data.sources.opening import open_source
from alit.errors import AlitError, ConfigError, DataError, TokenFileError
from alit.signals import interrupts
from alit.tokenizer.dataset import TokenizeConfig, TokenizeJob, tokenize
from alit.tokenizer.engines import here, processes
from alit.tokenizer.parquet import part_file, read_rows
from alit.tokenizer.tokens import read_tokens

WAYS = [{"length": 4}, {"until_l1": 0.25}, {"budget": 3.5}]
CONFIGS = {"ids": tokenizer_config(), "codes": tokenizer_config({"kind": "vae"}, quantize=False)}
COUNT = 8


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for index in range(COUNT):
        pixels = draw.integers(0, 256, (20 + index, 16, 3)) * (index % 3) // 2
        Image.fromarray(pixels.astype(np.uint8)).save(folder / ("deep" if index % 2 else ".") / f"{index}.png")
    return folder


@pytest.fixture(params=["ids"])
def model(request, tmp_path):
    tokenizer(CONFIGS[request.param]).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def job(pictures, model, out, **settings):
    config = TokenizeConfig(**({"images_per_part": 3, "batch_size": 2} | settings))
    return TokenizeJob(open_source(str(pictures)), str(model), out, config)


def run(work, engine=None, *, rejected_share=0.0, advance=lambda images: None):
    loaded = AdaptiveTokenizer.from_pretrained(work.model).eval()
    return tokenize(work, loaded, engine or here(loaded), rejected_share=rejected_share, advance=advance)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stopped_after(count):
    """An engine that is interrupted when it has written `count` parts."""

    def engine(work, parts, advance):
        found = here(AdaptiveTokenizer.from_pretrained(work.model).eval())(work, parts, advance)
        for _ in range(count):
            yield next(found)
        raise KeyboardInterrupt

    return engine


@pytest.mark.parametrize("model", CONFIGS, indirect=True)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
def test_the_parts_hold_what_encode_gives_for_the_same_pictures(way, model, pictures, tmp_path):
    done = []
    assert run(job(pictures, model, tmp_path / "out", **way), advance=done.append) == []
    assert sum(done) == COUNT
    found, names = read_tokens(tmp_path / "out")
    assert names == tuple(sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")))
    loaded = AdaptiveTokenizer.from_pretrained(model)
    how = {"until": ReconstructionLoss(l1=way["until_l1"])} if "until_l1" in way else way
    expected = loaded.encode(load_images([pictures / name for name in names], size=16), **how)
    assert (found.lengths.tolist(), found.satisfied.tolist()) == (
        expected.lengths.tolist(),
        expected.satisfied.tolist(),
    )
    torch.testing.assert_close(found.values, expected.values)
    assert (found.model, found.codebook_size) == (expected.model, expected.codebook_size)
    if "length" not in way:
        assert len(set(found.lengths.tolist())) > 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_rejected.csv",
        "_tokenize.json",
        *(f"part-{part:06d}.parquet" for part in range(3)),
    ]
    assert TokenSet.load(part_file(tmp_path / "out", 2)) == found[6:]


@pytest.mark.parametrize("model", CONFIGS, indirect=True)
def test_any_reader_of_parquet_finds_the_columns(model, pictures, tmp_path):
    run(job(pictures, model, tmp_path / "out", until_l1=0.25))
    tokens, names = read_tokens(tmp_path / "out")
    table = pyarrow.parquet.read_table(str(tmp_path / "out"), filters=[("length", ">", 0)])
    assert table.column_names == ["id", "tokens", "length", "satisfied", "bits"]
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == list(names)
    assert [row["bits"] for row in rows] == tokens.bits.tolist()
    assert [row["satisfied"] for row in rows] == tokens.satisfied.tolist()
    assert [row["tokens"] for row in rows] == [image.values.tolist() for image in tokens]


@pytest.mark.slow
@pytest.mark.parametrize("model", CONFIGS, indirect=True)
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_datasets_reads_the_parts(model, pictures, tmp_path):
    datasets = pytest.importorskip("datasets")
    run(job(pictures, model, tmp_path / "out", budget=4.0))
    files = str(tmp_path / "out" / "*.parquet")
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    tokens = TokenSet.load(tmp_path / "out")
    assert found["tokens"][:] == [image.values.tolist() for image in tokens]
    assert found["length"][:] == tokens.lengths.tolist()


@pytest.mark.parametrize("parts", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(way, parts, model, pictures, tmp_path):
    run(job(pictures, model, tmp_path / "whole", **way))
    work = job(pictures, model, tmp_path / "stopped", **way)
    with pytest.raises(KeyboardInterrupt):
        run(work, stopped_after(parts))
    with pytest.raises(TokenFileError, match=r"found no part|expected 3 parts in .*, found [12]; run alit tokenize"):
        TokenSet.load(tmp_path / "stopped")
    (work.target / "_part-000002.parquet.partial").write_bytes(b"half")
    written = []

    def watched(work, parts, advance):
        written.extend(parts)
        return here(AdaptiveTokenizer.from_pretrained(work.model).eval())(work, parts, advance)

    done = []
    run(work, watched, advance=done.append)
    assert written == list(range(parts, 3))
    assert (done[0], sum(done)) == (3 * parts, COUNT)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    run(work, watched)
    assert written == list(range(parts, 3))  # a finished run encodes nothing again


def test_a_run_that_is_stopped_while_it_spends_its_budget_goes_on(model, pictures, tmp_path, monkeypatch):
    run(job(pictures, model, tmp_path / "whole", budget=3.5))
    work = job(pictures, model, tmp_path / "stopped", budget=3.5)
    with monkeypatch.context() as patch:
        patch.setattr("alit.tokenizer.dataset.shutil.rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(work)
    part_file(work.out, 1).unlink()
    run(work, stopped_after(0))
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_parts_of_another_run_are_refused_by_what_differs(model, pictures, tmp_path):
    run(job(pictures, model, tmp_path / "out", length=4))
    before = contents(tmp_path / "out")
    others = {
        "length 4, and this one has 2": job(pictures, model, tmp_path / "out", length=2),
        "length 4, and this one has None": job(pictures, model, tmp_path / "out", until_l1=0.25),
        "images_per_part 3, and this one has 4": job(pictures, model, tmp_path / "out", length=4, images_per_part=4),
    }
    tokenizer(seed=1).save_pretrained(tmp_path / "other")
    others["tokenizer"] = job(pictures, tmp_path / "other", tmp_path / "out", length=4)
    (pictures / "0.png").rename(pictures / "00.png")
    others["ids_sha256"] = job(pictures, model, tmp_path / "out", length=4)
    (pictures / "00.png").unlink()
    others["images 8, and this one has 7"] = job(pictures, model, tmp_path / "out", length=4)
    for fault, work in others.items():
        with pytest.raises(ConfigError, match=f"holds parts of another run, with {fault}"):
            run(work)
    assert contents(tmp_path / "out") == before


def test_a_folder_of_something_else_is_refused(model, pictures, tmp_path):
    with pytest.raises(ConfigError, match="found other files"):
        run(job(pictures, model, pictures, length=4))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_tokenize.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        run(job(pictures, model, tmp_path / "out", length=4))


def test_lengths_and_budgets_that_no_image_can_have_are_refused_before_any_work(model, pictures, tmp_path):
    with pytest.raises(ConfigError, match="expected a length among 2, 4, 6, found 3"):
        run(job(pictures, model, tmp_path / "out", length=3))
    with pytest.raises(ConfigError, match="at least the shortest length 2, found 1"):
        run(job(pictures, model, tmp_path / "out", budget=1.0))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
def test_unreadable_pictures_are_left_out_and_listed(way, model, pictures, tmp_path):
    (pictures / "1.png").write_bytes(b"no picture")
    (pictures / "2.png").write_bytes((pictures / "2.png").read_bytes()[:60])
    work = job(pictures, model, tmp_path / "out", **way)
    with pytest.raises(DataError, match=r"[12] of 9 images could not be read, more than --rejected-share"):
        run(work, rejected_share=0.1)
    rejected = run(work, rejected_share=0.25)
    assert [name for name, _ in rejected] == ["1.png", "2.png"]
    assert rejected[0][1] == "not an image"
    assert set(read_tokens(tmp_path / "out").names or ()).isdisjoint({"1.png", "2.png"})
    with (tmp_path / "out" / "_rejected.csv").open() as file:
        assert [(row["id"], row["part"]) for row in csv.DictReader(file)] == [
            ("1.png", "part-000000.parquet"),
            ("2.png", "part-000000.parquet"),
        ]
    assert run(work, stopped_after(0), rejected_share=0.25) == rejected  # known without reading them again


def test_only_unreadable_pictures_make_empty_parts(model, tmp_path):
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        (tmp_path / "pictures" / f"{index}.png").write_bytes(b"")
    rejected = run(job(tmp_path / "pictures", model, tmp_path / "out", budget=3.0), rejected_share=1.0)
    assert len(rejected) == 4
    assert len(TokenSet.load(tmp_path / "out")) == 0


def test_a_damaged_part_is_named(model, pictures, tmp_path):
    run(job(pictures, model, tmp_path / "out", length=4))
    path = part_file(tmp_path / "out", 1)
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:100], b""):
        path.write_bytes(content)
        with pytest.raises(TokenFileError, match=r"part-000001\.parquet cannot be read"):
            TokenSet.load(tmp_path / "out")
    path.unlink()
    with pytest.raises(TokenFileError, match="expected 3 parts"):
        TokenSet.load(tmp_path / "out")
    table = pyarrow.parquet.read_table(part_file(tmp_path / "out", 0))
    pyarrow.parquet.write_table(table.replace_schema_metadata(None), tmp_path / "other.parquet")
    with pytest.raises(TokenFileError, match="no metadata of this kind"):
        TokenSet.load(tmp_path / "other.parquet")
    beyond = table.set_column(1, "tokens", pyarrow.array([[1, 16, 2, 3]] * 3, pyarrow.list_(pyarrow.int32())))
    pyarrow.parquet.write_table(beyond, tmp_path / "other.parquet")
    with pytest.raises(TokenFileError, match="outside its codebook"):
        read_rows(tmp_path / "other.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: next(iter(way)))
def test_two_processes_write_the_bytes_of_one(way, model, pictures, tmp_path):
    (pictures / "1.png").write_bytes(b"no picture")
    one = run(job(pictures, model, tmp_path / "one", **way), rejected_share=0.2)
    done = []
    two = run(
        job(pictures, model, tmp_path / "two", **way),
        processes("cpu", 2),
        rejected_share=0.2,
        advance=done.append,
    )
    assert two == one
    assert sum(done) == COUNT + 1
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.slow
def test_a_fault_in_a_process_is_the_fault_of_the_command(model, pictures, tmp_path):
    work = job(pictures, model, tmp_path / "out", length=4)
    loaded = AdaptiveTokenizer.from_pretrained(model)
    shutil.rmtree(model)
    with pytest.raises(AlitError, match="ended unexpectedly"):
        tokenize(work, loaded, processes("cpu", 2), rejected_share=0.0, advance=lambda images: None)


def test_more_gpus_than_there_are_are_refused():
    with pytest.raises(ConfigError, match="expected 99 GPUs"):
        processes("cuda", 99)
    with pytest.raises(ConfigError, match="expected a kind of device for 2 processes, such as cuda"):
        processes("cuda:1", 2)


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_goes_on(model, tmp_path):
    (tmp_path / "pictures").mkdir()
    for index in range(300):
        Image.new("RGB", (400, 400), (index % 256, 0, 0)).save(tmp_path / "pictures" / f"{index:04d}.png")
    command = [sys.executable, "-m", "alit.cli", "tokenize", str(tmp_path / "pictures"), str(tmp_path / "out")]
    command += ["-m", str(model), "--length", "4", "--images-per-part", "20", "--batch-size", "4"]
    running = subprocess.Popen([*command, "--devices", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out").glob("*.parquet")):
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    deadline = time.monotonic() + 60
    while _lives(running.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert 0 < len(list((tmp_path / "out").glob("*.parquet"))) < 15
    main(command[3:])
    assert len(TokenSet.load(tmp_path / "out")) == 300


def _lives(group):
    """Whether a process of a session still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_writes_the_bytes_of_this_machine(model, pictures, tmp_path):
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'alit-suite[ray]'")
    from alit.tokenizer.engines import ray_actors

    (pictures / "1.png").write_bytes(b"no picture")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        local, cluster = (job(pictures, model, tmp_path / place, budget=3.5) for place in ("local", "cluster"))
        found = run(cluster, ray_actors("cpu", 2), rejected_share=0.2)
        assert found == run(local, rejected_share=0.2)
        assert contents(cluster.out) == contents(local.out)
        fresh = job(pictures, tmp_path / "none", tmp_path / "fresh", length=4)
        with pytest.raises(AlitError, match=r"found|Ray"):
            tokenize(fresh, tokenizer(), ray_actors("cpu", 1), rejected_share=0.2, advance=lambda images: None)
    finally:
        ray.shutdown()


def test_the_command_tokenizes_a_folder_describes_it_and_decodes_it(model, pictures, tmp_path, capsys):
    arguments = ["tokenize", str(pictures), str(tmp_path / "out"), "-m", str(model), "--until-l1", "0.25"]
    main(arguments)
    main(["info", str(tmp_path / "out")])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("8 images, ")
    main(["decode", str(tmp_path / "out"), "-o", str(tmp_path / "rebuilt"), "-m", str(model)])
    assert len(list((tmp_path / "rebuilt").iterdir())) == COUNT
    assert json.loads((tmp_path / "out" / "_tokenize.json").read_text())["checkpoint"] == str(model)


def test_the_command_ends_with_a_line_where_pictures_could_not_be_read(model, pictures, tmp_path, capsys):
    (pictures / "1.png").write_bytes(b"no picture")
    arguments = ["tokenize", str(pictures), str(tmp_path / "out"), "-m", str(model), "--length", "4"]
    with pytest.raises(DataError, match=r"more than --rejected-share allows; the last is 1\.png: not an image"):
        main(arguments)
    with pytest.raises(DataError, match=r"1 of 9 pictures could not be read and are not in .*rejected\.csv"):
        main([*arguments, "--rejected-share", "0.2"])
    assert capsys.readouterr().out.startswith("8 images")


def packed_as(kind, pictures, folder):
    """Pack the pictures of a folder as another kind of source, in the folder's order."""
    files = sorted(pictures.rglob("*.png"), key=lambda path: path.relative_to(pictures).as_posix())
    folder.mkdir()
    contents = [path.read_bytes() for path in files]
    if kind == "shards":
        for shard in range(2):
            with tarfile.open(folder / f"{shard}.tar", "w") as tar:
                for index in range(shard * 4, shard * 4 + 4):
                    info = tarfile.TarInfo(f"{index:04d}.png")
                    info.size = len(contents[index])
                    tar.addfile(info, io.BytesIO(contents[index]))
    elif kind == "bytes":
        table = pyarrow.table({"id": [f"picture {index}" for index in range(COUNT)], "image": contents})
        pyarrow.parquet.write_table(table.slice(0, 5), folder / "a.parquet", row_group_size=2)
        pyarrow.parquet.write_table(table.slice(5), folder / "b.parquet")
    elif kind == "structs":
        rows = [{"bytes": content, "path": f"{index}.png"} for index, content in enumerate(contents)]
        pyarrow.parquet.write_table(pyarrow.table({"image": rows}), folder / "a.parquet", row_group_size=3)
    else:
        datasets = pytest.importorskip("datasets")
        features = datasets.Features({"image": datasets.Image()})
        rows = [{"bytes": content, "path": None} for content in contents]
        datasets.Dataset.from_dict({"image": rows}, features=features).save_to_disk(str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["shards", "bytes", "structs", "datasets"])
def test_every_source_of_the_same_pictures_gives_the_same_tokens(kind, model, pictures, tmp_path):
    run(job(pictures, model, tmp_path / "expected", budget=3.5))
    packed = packed_as(kind, pictures, tmp_path / "packed")
    run(job(packed, model, tmp_path / "here", budget=3.5))
    run(job(packed, model, tmp_path / "there", budget=3.5), processes("cpu", 2))
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert TokenSet.load(tmp_path / "here") == TokenSet.load(tmp_path / "expected")
    names = read_tokens(tmp_path / "here").names
    assert len(set(names)) == COUNT
    fifth = {"shards": "1/0005", "bytes": "picture 5", "structs": "a.parquet/0000005", "datasets": "0000005"}
    assert names[5] == fifth[kind]


def test_faults_of_parquet_files_are_named(tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="not a Parquet file that can be read"):
        open_source(str(folder))
    pyarrow.parquet.write_table(pyarrow.table({"picture": [b"x"]}), folder / "a.parquet")
    with pytest.raises(DataError, match="no column image; expected one of coded pictures, found picture"):
        open_source(str(folder))
    pyarrow.parquet.write_table(pyarrow.table({"image": [1, 2]}), folder / "a.parquet")
    with pytest.raises(DataError, match=r"expected column image of bytes or \{bytes, path\}, found int64"):
        open_source(str(folder))
    pyarrow.parquet.write_table(pyarrow.table({"image": [None, b"no picture"]}), folder / "a.parquet")
    source = open_source(str(folder / "a.parquet"))
    for row, fault in enumerate(["the row has no picture", "not an image"]):
        with pytest.raises(DataError, match=fault):
            source.read(row)


def test_a_source_that_is_not_there_is_named(model, tmp_path):
    for place in (tmp_path / "nowhere", tmp_path / "model" / "config.json"):
        with pytest.raises(DataError, match="expected"):
            main(["tokenize", str(place), str(tmp_path / "out"), "-m", str(model), "--length", "4"])


def test_processes_leave_ctrl_c_to_the_one_that_starts_them():
    asked = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"]
    before = signal.getsignal(signal.SIGINT)
    with interrupts(signal.SIG_IGN):
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is before
