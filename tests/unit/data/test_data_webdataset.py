"""Images in WebDataset shards: found, described and read by offset as the reference package reads them as a stream."""

import gc
import hashlib
import io
import json
import tarfile
import warnings

import numpy as np
import pytest
import torch
import webdataset
from photo_project import Project, one_set
from PIL import Image

from alit.data.imageset import open_set
from alit.data.sources.webdataset import open_member, webdataset_source
from alit.errors import DataError


def coded(seed, size=(24, 20), kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_shard(path, samples):
    """Write samples, each a dict of kind -> bytes with its key, by the reference package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for key, files in samples.items():
            writer.write({"__key__": key, **files})
    return path


@pytest.fixture
def shards(tmp_path):
    """Two shards of three pictures each, with classes, captions and more."""
    for shard in range(2):
        samples = {
            f"n0{shard}/{number:03d}": {
                "cls": str(number).encode(),
                "json": json.dumps({"class_name": f"class {number}", "caption": "from json"}).encode(),
                ("jpg" if number else "png"): coded(10 * shard + number, kind="JPEG" if number else "PNG"),
                **({"txt": b"a caption"} if number == 2 else {}),
            }
            for number in range(3)
        }
        write_shard(tmp_path / f"data/shards/set-train-{shard:04d}.tar", samples)
    return tmp_path / "data/shards"


def test_samples_are_those_that_the_reference_package_streams(shards):
    source = webdataset_source("set", shards, "train")
    urls = sorted(map(str, shards.glob("*.tar")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the package leaves its files open
        stream = list(webdataset.WebDataset(urls, shardshuffle=False))
        gc.collect()
    assert len(source) == len(stream) == 6
    for index, sample in enumerate(stream):
        picture = sample.get("jpg") or sample.get("png")
        record = source.record(index)
        assert record.image_id.endswith(sample["__key__"])
        assert record.label == int(sample["cls"])
        assert source.digest(index) == hashlib.sha256(picture).hexdigest()
        assert np.array_equal(source.read(index), np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))


def test_records_name_shard_class_and_caption(shards):
    source = webdataset_source("set", shards, "train")
    record = source.record(5)
    assert record.image_id == "set-train-0001/n01/002"
    assert record.origin.startswith("set-train-0001.tar@")
    assert (record.class_name, record.caption, record.split) == ("class 2", "a caption", "train")
    assert source.record(1).caption == "from json"
    assert source.class_names == ("class 0", "class 1", "class 2")


def test_class_numbers_take_their_names_from_a_file_beside_the_shards(tmp_path):
    write_shard(tmp_path / "train/a.tar", {"x": {"jpg": coded(0, kind="JPEG"), "cls": b"2"}})
    assert webdataset_source("set", tmp_path, "train").class_names == ("0", "1", "2")
    (tmp_path / "train/classes.txt").write_text("tench\ngoldfish\nshark\nray\n")
    source = webdataset_source("set", tmp_path, "train")
    assert source.class_names == ("tench", "goldfish", "shark", "ray")
    assert (source.record(0).label, source.record(0).class_name) == (2, "shark")
    (tmp_path / "train/classes.txt").write_text("tench\n")
    with pytest.raises(DataError, match="names of 3 classes"):
        webdataset_source("set", tmp_path, "train")


def test_a_negative_class_is_unknown(tmp_path):
    samples = {f"{number}": {"cls": label, "png": coded(number)} for number, label in enumerate((b"-1", b"1"))}
    samples["2"] = {"json": b'{"label": -1}', "png": coded(2)}
    write_shard(tmp_path / "train/a.tar", samples)
    source = webdataset_source("set", tmp_path, "train")
    assert [source.record(index).label for index in range(3)] == [None, 1, None]


def test_class_names_without_numbers_are_numbered_in_their_order(tmp_path):
    samples = {name: {"png": coded(0), "cls": name.encode()} for name in ("dog", "cat")}
    write_shard(tmp_path / "train/a.tar", samples)
    source = webdataset_source("set", tmp_path, "train")
    assert source.class_names == ("cat", "dog")
    assert [source.record(index).label for index in range(2)] == [1, 0]


def test_samples_without_labels_have_none(tmp_path):
    write_shard(tmp_path / "train/a.tar", {"x": {"webp": coded(0, kind="WEBP")}, "y": {"txt": b"no picture"}})
    source = webdataset_source("set", tmp_path, "train")
    assert len(source) == 1
    assert (source.record(0).label, source.class_names) == (None, ())


def test_the_split_is_a_word_of_the_names_and_never_a_part_of_one(shards):
    with pytest.raises(DataError, match="with the split as a word, found none"):
        webdataset_source("set", shards, "tra")
    with pytest.raises(DataError, match=r"expected shards .*val"):
        webdataset_source("set", shards, "val")


def test_a_set_of_shards_is_read_where_it_lies(shards, tmp_path):
    project = Project(tmp_path)
    project.materialize(one_set("set", source="webdataset", path="shards", split="train", pack=False))
    images = open_set(project.data / "set")
    project.materialize(one_set("set", source="webdataset", path="shards", split="train", pack=True))
    packed = open_set(project.data / "set")
    assert torch.equal(images.images(range(6)), packed.images(range(6)))
    assert images.labels([4, 3]).tolist() == [1, 0]


def test_a_damaged_picture_is_listed_and_the_others_stay(tmp_path):
    whole = coded(1)
    write_shard(tmp_path / "data/shards/train/a.tar", {"x": {"png": whole[:-40]}, "y": {"png": whole}})
    project = Project(tmp_path)
    project.materialize(one_set("set", source="webdataset", path="shards", split="train", pack=False), share=0.5)
    assert len(open_set(project.data / "set")) == 1
    assert [row["set"] for row in project.refused()] == ["set"]
    assert project.refused()[0]["origin"].startswith("train/a.tar@")


def test_a_damaged_shard_is_named(shards):
    path = sorted(shards.glob("*.tar"))[1]
    content = path.read_bytes()
    source = webdataset_source("set", shards, "train")
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(DataError, match=r"the shard ends .* bytes too early"):
        source.read(5)
    with pytest.raises(DataError, match=r"set-train-0001\.tar, found a damaged one"):
        webdataset_source("set", shards, "train")
    path.unlink()
    with pytest.raises(DataError, match="the shard cannot be read: No such file"):
        source.read(5)


@pytest.mark.parametrize("label", [{"label": [1]}, {"label": True}, {"label": 1.5}])
def test_a_label_that_is_no_class_is_refused(tmp_path, label):
    write_shard(tmp_path / "train/a.tar", {"x": {"png": coded(0), "json": json.dumps(label).encode()}})
    with pytest.raises(DataError, match=r"expected a number or a name as label of x"):
        webdataset_source("set", tmp_path, "train")


def test_shards_of_plain_tar_with_long_names_and_folders_are_read(tmp_path):
    (tmp_path / "train").mkdir()
    with tarfile.open(tmp_path / "train/a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        info = tarfile.TarInfo(f"deep/{'x' * 150}.JPEG")
        content = coded(3, kind="JPEG")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    source = webdataset_source("set", tmp_path, "train")
    assert source.record(0).image_id == f"a/deep/{'x' * 150}"
    assert source.digest(0) == hashlib.sha256(content).hexdigest()


def test_an_origin_of_another_source_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected <shard>@<offset>"):
        open_member(tmp_path, "train/x.jpg")
