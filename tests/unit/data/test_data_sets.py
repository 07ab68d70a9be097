"""Image sets on disk: nothing is lost between writing and opening, and damage is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from photo_project import Project, one_set, scenes
from PIL import Image

from alit.data.images import center_view
from alit.data.imageset import (
    COLUMNS,
    Subset,
    build_manifest,
    open_set,
    read_manifest,
    write_manifest,
)
from alit.data.listing import chosen_indices
from alit.data.prepare import ArrayWriter, DataConfig, ImageSetConfig, materialize_sets
from alit.data.scenes.scene import SceneSource
from alit.data.sources import Record
from alit.errors import DataError


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def test_a_packed_set_gives_back_the_center_views(project):
    project.materialize(one_set())
    found = open_set(project.data / "photos")
    assert (found.name, found.role, found.image_size, len(found)) == ("photos", "evaluate", 16, 10)
    assert found.class_names == ("cat", "dog")
    images = found.images([7, 0])
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == torch.float32
    with Image.open(project.root / "data/photos/dog/2.png") as image:
        view = center_view(np.asarray(image), 16)
    assert np.array_equal((images[0] * 255).round().byte().permute(1, 2, 0).numpy(), view)
    assert found.labels(torch.tensor([7, 0])).tolist() == [1, 0]
    assert found.depth([0]) is None
    assert found.masks([0]) is None


def test_an_unpacked_set_gives_the_same_images_and_keeps_no_copy(project):
    project.materialize(one_set("packed"), one_set("lazy", pack=False))
    packed, lazy = open_set(project.data / "packed"), open_set(project.data / "lazy")
    assert torch.equal(packed.images(range(10)), lazy.images(range(10)))
    assert sorted(path.name for path in (project.data / "lazy").iterdir()) == ["manifest.csv", "set.json"]
    assert packed.manifest.equals(lazy.manifest)


def test_an_unpacked_set_finds_its_files_wherever_they_are_moved(project, monkeypatch):
    monkeypatch.delenv("ALIT_DATA", raising=False)
    project.materialize(one_set(pack=False))
    before = open_set(project.data / "photos").images([3])
    (project.root / "data").rename(project.root / "elsewhere")
    with pytest.raises(DataError, match="expected data at"):
        open_set(project.data / "photos")
    named = open_set(project.data / "photos", data_root=project.root / "elsewhere")
    monkeypatch.setenv("ALIT_DATA", str(project.root / "elsewhere"))
    assert torch.equal(named.images([3]), before)
    assert torch.equal(open_set(project.data / "photos").images([3]), before)


def test_a_file_that_broke_since_the_data_stage_is_named(project):
    project.materialize(one_set(pack=False))
    project.break_image("dog/1.png")
    with pytest.raises(DataError, match=r"dog/1\.png.*readable before"):
        open_set(project.data / "photos").images([6])


def test_scenes_keep_depth_masks_labels_and_captions(project):
    project.materialize(scenes())
    found, source = open_set(project.data / "scenes"), SceneSource("scenes", "base", "train", 6, 16)
    depth, masks = found.depth([4, 1]), found.masks([4, 1])
    assert depth.dtype == torch.float32
    assert masks.dtype == torch.uint8
    assert np.allclose(depth[0], source.depth(4), rtol=1e-3)
    assert np.array_equal(masks[1], source.masks(1))
    row = found.manifest.iloc[2]
    record = source.record(2)
    assert tuple(row[list(Record._fields)]) == tuple(record)
    assert row["sha256"] == source.digest(2)
    assert found.labels([2]).tolist() == [record.label]
    assert found.captions([4, 2]) == [source.record(4).caption, record.caption]


def test_far_scenes_have_no_labels(project):
    project.materialize(scenes(variant="far"))
    found = open_set(project.data / "scenes")
    assert found.labels(range(6)).tolist() == [-1] * 6
    assert found.manifest["label"].isna().all()
    assert found.manifest["complexity"].isna().all()


def test_a_limit_spreads_over_the_whole_set(project):
    project.materialize(one_set(images=4))
    found = open_set(project.data / "photos")
    assert found.labels(range(4)).tolist() == [0, 0, 1, 1]
    assert found.captions([3, 0]) == [None, None]
    assert chosen_indices(10, 4) == [0, 2, 5, 7]
    assert chosen_indices(3, 10) == [0, 1, 2]
    assert chosen_indices(7, None) == list(range(7))


def test_a_folder_that_is_no_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected an image set"):
        open_set(tmp_path)
    (tmp_path / "set.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(DataError, match="expected an image set"):
        open_set(tmp_path)


def test_damaged_arrays_are_refused(project):
    project.materialize(one_set())
    path = project.data / "photos/images.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="missing or damaged"):
        open_set(project.data / "photos")


def test_a_manifest_survives_writing_and_reading(tmp_path):
    records = [
        Record("a", "x/a.png", 3, "nan", "val", 12.5, 'a "red" cube, and\nmore', 2),
        Record("b", "x/b.png", None, None, "val", None, None, None),
    ]
    manifest = build_manifest(records, ["00", "ff"])
    write_manifest(manifest, tmp_path / "manifest.csv")
    found = read_manifest(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(found, manifest)
    assert tuple(found.columns) == COLUMNS
    assert str(found["label"].dtype) == "Int64"


def test_a_table_that_is_no_manifest_is_refused(tmp_path):
    path = tmp_path / "manifest.csv"
    with pytest.raises(DataError, match="expected a manifest"):
        read_manifest(path)
    path.write_text("image_id,origin\na,b\n")
    with pytest.raises(DataError, match="expected the columns"):
        read_manifest(path)
    path.write_text(",".join(COLUMNS) + "\na,b,three,c,val,1,,2,00\n")
    with pytest.raises(DataError, match="is not a manifest"):
        read_manifest(path)


def test_rows_written_one_by_one_equal_an_array_saved_at_once(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (1200, 2, 3), dtype=np.uint8)
    with ArrayWriter(tmp_path / "rows.npy") as writer:
        for row in array:
            writer.append(row)
        with pytest.raises(ValueError, match="expected uint8"):
            writer.append(array[0].astype(np.float32))
    np.save(tmp_path / "whole.npy", array)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


# Parts of a set


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    scenes = {"name": "val", "role": "evaluate", "source": "scenes", "path": None, "variant": "base", "split": "val"}
    part = ImageSetConfig.model_validate({**scenes, "images": 10, "pack": True})
    config = DataConfig(image_size=32, rejected_share=0.0, flip=False, crop_scale=1.0, sets=(part,))
    materialize_sets(config, folder, folder / "rejected.csv", ())
    return open_set(folder / "val")


def test_rows_are_spread_over_the_whole_and_read_as_there(whole):
    part = Subset(whole, 4)
    rows = np.array([0, 2, 5, 7])
    assert len(part) == 4
    assert part.manifest["image_id"].tolist() == whole.manifest["image_id"].iloc[rows].tolist()
    order = [3, 1]
    assert torch.equal(part.images(order), whole.images(rows[order]))
    assert torch.equal(part.labels(order), whole.labels(rows[order]))
    assert torch.equal(part.depth(order), whole.depth(rows[order]))
    assert part.inverse_depth(order) is whole.inverse_depth(rows[order]) is None
    assert part.captions(order) == whole.captions(rows[order])
    assert (part.name, part.image_size, part.class_names) == (whole.name, whole.image_size, whole.class_names)


@pytest.mark.parametrize("limit", [None, 10, 99])
def test_no_limit_or_a_large_one_takes_all(whole, limit):
    assert torch.equal(Subset(whole, limit).images(range(10)), whole.images(range(10)))
