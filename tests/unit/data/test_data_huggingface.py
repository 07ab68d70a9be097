"""Images in data sets of the Hugging Face library: on disk in both of its ways, read row by row as they are coded."""

import hashlib
import io
import pickle

import datasets
import numpy as np
import pytest
import torch
from photo_project import Project, one_set
from PIL import Image

from alit.data.imageset import open_set
from alit.data.sources.huggingface import huggingface_source, open_rows
from alit.errors import DataError


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def coded(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def made(count=5, **columns):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}
    pictures = [{"bytes": coded(number), "path": None} for number in range(count)]
    content = {"image": pictures, "label": [number % 2 for number in range(count)], **columns}
    features |= {name: datasets.Value("string") for name in columns}
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


@pytest.fixture(params=["rows", "splits", "parquet"])
def stored(request, tmp_path):
    """The parent of a folder `set` with a split `train`, in each of the ways that are read."""
    rows, folder = made(caption=[f"number {number}" for number in range(5)]), tmp_path / "data/set"
    if request.param == "rows":
        rows.save_to_disk(folder)
    elif request.param == "splits":
        datasets.DatasetDict(train=rows, val=made(2)).save_to_disk(folder)
    else:
        folder.mkdir(parents=True)
        rows.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder.parent


def test_rows_are_read_as_they_are_coded(stored):
    source = huggingface_source("set", "set", "train", (stored,))
    assert len(source) == 5
    for number in range(5):
        assert source.digest(number) == hashlib.sha256(coded(number)).hexdigest()
        assert np.array_equal(source.read(number), np.asarray(Image.open(io.BytesIO(coded(number)))))


def test_records_name_class_and_caption(stored):
    source = huggingface_source("set", "set", "train", (stored,))
    record = source.record(3)
    assert (record.image_id, record.origin) == ("0000003", "row:3")
    assert (record.label, record.class_name, record.caption, record.split) == (1, "cat", "number 3", "train")
    assert source.class_names == ("dog", "cat")


def test_a_set_is_read_where_it_lies(stored, tmp_path):
    project = Project(tmp_path)
    project.materialize(one_set("set", source="huggingface", path="set", split="train", pack=False))
    images = open_set(project.data / "set")
    project.materialize(one_set("set", source="huggingface", path="set", split="train", pack=True))
    assert torch.equal(images.images(range(5)), open_set(project.data / "set").images(range(5)))
    assert images.labels([3, 0]).tolist() == [1, 0]


def test_rows_reach_another_process(stored):
    rows = pickle.loads(pickle.dumps(open_rows("set", "train", (stored,))))
    assert rows("row:2").read() == coded(2)


def test_unknown_labels_and_sets_without_any_have_none(tmp_path):
    rows = made(2)
    rows.map(lambda row: {"label": -1}).save_to_disk(tmp_path / "set")
    assert huggingface_source("set", "set", "train", (tmp_path,)).record(0).label is None
    rows.remove_columns("label").save_to_disk(tmp_path / "plain")
    source = huggingface_source("set", "plain", "train", (tmp_path,))
    assert (source.record(0).label, source.record(0).caption, source.class_names) == (None, None, ())


def test_pictures_that_the_data_set_only_points_to_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(coded(7))
    rows = datasets.Dataset.from_dict({"photo": [str(tmp_path / "a.png")]}).cast_column("photo", datasets.Image())
    rows.save_to_disk(tmp_path / "set")
    assert huggingface_source("set", "set", "train", (tmp_path,)).digest(0) == hashlib.sha256(coded(7)).hexdigest()


def test_a_row_without_its_picture_is_listed(tmp_path):
    rows = made(3)
    broken = [{"bytes": coded(0), "path": None}, None, {"bytes": coded(0)[:-30], "path": None}]
    rows = rows.remove_columns("image").add_column("image", broken).cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "data/set")
    project = Project(tmp_path)
    project.materialize(one_set("set", source="huggingface", path="set", split="train", pack=False), share=0.7)
    assert [row["origin"] for row in project.refused()] == ["row:1", "row:2"]
    assert project.refused()[0]["reason"] == "the row has no picture"


def test_a_set_that_is_nowhere_or_has_no_such_split_is_named_in_one_line(stored):
    for path, split, found in (("none", "train", "none on the hub"), ("set", "test", "split test")):
        if split == "test" and (stored / "set/state.json").is_file():
            continue  # one split, of no name
        with pytest.raises(DataError, match=found) as raised:
            huggingface_source("set", path, split, (stored,))
        assert "\n" not in str(raised.value)


def test_columns_without_a_choice_are_named(tmp_path):
    rows = made(2)
    rows.remove_columns("image").save_to_disk(tmp_path / "none")
    with pytest.raises(DataError, match="expected one column of pictures, or one named image, found label"):
        huggingface_source("set", "none", "train", (tmp_path,))
    pictures = [{"bytes": coded(0), "path": None}]
    features = datasets.Features({"left": datasets.Image(), "right": datasets.Image()})
    two = datasets.Dataset.from_dict({"left": pictures, "right": pictures}, features=features)
    two.save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match="found left, right"):
        huggingface_source("set", "two", "train", (tmp_path,))
