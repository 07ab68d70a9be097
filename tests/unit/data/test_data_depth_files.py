"""Depth maps beside their images: two kinds of file, their faults, and maps that follow their images into a set."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alit.data.imageset import Subset, open_set
from alit.data.prepare import DataConfig, ImageSetConfig, build_source, materialize_sets, write_set
from alit.data.sources.paired import depth_source, read_inverse_depth, read_millimeters
from alit.errors import DataError

RAMP = np.arange(48, dtype=np.float16).reshape(6, 8)


def photo(path: Path, pixels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8) if pixels is None else pixels).save(path)


def millimeters(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint16)).save(path)


def config(**changes) -> ImageSetConfig:
    fields = {"name": "set", "role": "evaluate", "source": "depth_pairs", "path": "set", "variant": "base"}
    return ImageSetConfig.model_validate(fields | {"split": "val", "images": None, "pack": True} | changes)


def test_an_array_beside_an_image_is_inverse_depth(tmp_path):
    photo(tmp_path / "val/cat/1.jpg")
    np.save(tmp_path / "val/cat/1.npy", RAMP)
    source = depth_source("set", tmp_path, "val")
    assert [source.record(index).origin for index in range(len(source))] == ["val/cat/1.jpg"]
    assert source.class_names == ("cat",)
    assert source.depth(0) is None
    assert source.inverse_depth(0).dtype == np.float32
    assert np.array_equal(source.inverse_depth(0), RAMP)


def test_a_png_of_millimeters_is_depth_in_metres_and_no_image(tmp_path):
    for name in ("1", "2"):
        photo(tmp_path / f"{name}.png")
        millimeters(tmp_path / f"{name}_mm.png", 1000 * RAMP.astype(int))
    source = depth_source("set", tmp_path, "val")
    assert [source.record(index).origin for index in range(len(source))] == ["1.png", "2.png"]
    assert source.inverse_depth(0) is None
    assert np.array_equal(source.depth(1), RAMP)


def test_the_digest_of_a_pair_changes_with_its_map(tmp_path):
    photo(tmp_path / "1.jpg")
    np.save(tmp_path / "1.npy", RAMP)
    before = depth_source("set", tmp_path, "val").digest(0)
    assert before == depth_source("set", tmp_path, "val").digest(0)
    np.save(tmp_path / "1.npy", -RAMP)
    assert depth_source("set", tmp_path, "val").digest(0) != before


def test_images_without_any_map_are_refused_with_the_places_that_were_searched(tmp_path):
    photo(tmp_path / "val/1.jpg")
    with pytest.raises(DataError, match=r"<image>\.npy or <image>_mm\.png, found none"):
        depth_source("set", tmp_path, "val")


def test_two_kinds_of_depth_in_one_set_are_refused(tmp_path):
    for name in ("1", "2"):
        photo(tmp_path / f"{name}.jpg")
    np.save(tmp_path / "1.npy", RAMP)
    millimeters(tmp_path / "2_mm.png", RAMP)
    with pytest.raises(DataError, match=r"found <image>\.npy and <image>_mm\.png; make a set of each"):
        depth_source("set", tmp_path, "val")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((6, 8, 1), np.float32), r"expected floats \(h, w\), found float32 \(6, 8, 1\)"),
        (np.arange(48).reshape(6, 8), r"expected floats \(h, w\), found int64 \(6, 8\)"),
        (np.full((6, 8), 3.0), "pixels of known and different depth, found none"),
        (np.full((6, 8), np.nan), "pixels of known and different depth, found none"),
        (np.array([{}]), "allow_pickle"),
    ],
)
def test_an_array_that_orders_nothing_is_refused(tmp_path, values, reason):
    np.save(tmp_path / "1.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=reason):
        read_inverse_depth(tmp_path / "1.npy")


def test_a_damaged_array_is_refused(tmp_path):
    np.save(tmp_path / "1.npy", RAMP)
    (tmp_path / "1.npy").write_bytes((tmp_path / "1.npy").read_bytes()[:-9])
    with pytest.raises(DataError):
        read_inverse_depth(tmp_path / "1.npy")


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((6, 8, 3), np.uint8), "one channel of whole millimeters"),
        (np.zeros((6, 8), np.uint16), "pixels of known and different depth, found none"),
    ],
)
def test_a_picture_that_holds_no_millimeters_is_refused(tmp_path, pixels, reason):
    Image.fromarray(pixels).save(tmp_path / "1_mm.png")
    with pytest.raises(DataError, match=reason):
        read_millimeters(tmp_path / "1_mm.png")


def test_maps_are_cropped_and_resized_as_their_images_are(tmp_path):
    near = np.zeros((32, 48), np.float32)  # the center square is columns 8 to 40, and becomes 8 x 8 of 4 pixels each
    near[4:16, 12:32] = 1e5  # more than float16 can hold
    near[28:] = np.nan
    photo(tmp_path / "set/val/1.png", np.repeat((near > 0)[..., None] * np.uint8(255), 3, axis=-1))
    np.save(tmp_path / "set/val/1.npy", near)
    settings = config()
    assert write_set(build_source(settings, 8, (tmp_path,)), settings, 8, tmp_path / "out") == []
    found = open_set(tmp_path / "out")
    assert found.depth([0]) is None
    assert found.inverse_depth([0]).dtype == torch.float32
    assert np.array_equal(found.inverse_depth([0])[0], near[2::4, 10:40:4], equal_nan=True)
    assert np.array_equal(found.images([0])[0, 0] > 0.5, found.inverse_depth([0])[0] > 0)
    assert torch.equal(Subset(found, 1).inverse_depth([0])[0][:7], found.inverse_depth([0])[0][:7])


def test_a_set_in_millimeters_has_depth_in_metres_and_no_inverse(tmp_path):
    photo(tmp_path / "set/1.jpg")
    millimeters(tmp_path / "set/1_mm.png", 250 * RAMP.astype(int))
    settings = config()
    write_set(build_source(settings, 6, (tmp_path,)), settings, 6, tmp_path / "out")
    found = open_set(tmp_path / "out")
    assert found.inverse_depth([0]) is None
    assert np.array_equal(found.depth([0])[0], RAMP[:, 1:7] / 4)


def test_an_image_without_a_map_or_with_one_of_another_size_is_rejected_by_name(tmp_path):
    for name in ("1", "2", "3", "4"):
        photo(tmp_path / f"set/{name}.jpg")
    np.save(tmp_path / "set/1.npy", RAMP)
    np.save(tmp_path / "set/2.npy", RAMP.T)
    (tmp_path / "set/3.npy").write_bytes(b"nothing")
    data = DataConfig(image_size=6, rejected_share=0.75, flip=False, crop_scale=1.0, sets=(config(),))
    materialize_sets(data, tmp_path / "data", tmp_path / "rejected.csv", (tmp_path,))
    lines = (tmp_path / "rejected.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["2.jpg", "3.jpg", "4.jpg"]
    assert "expected inverse depth of the image's size (6, 8), found (8, 6)" in lines[0]
    assert "depth 3.npy: " in lines[1]
    assert "no depth file: expected one that ends in .npy beside the image" in lines[2]
    assert len(open_set(tmp_path / "data/set")) == 1


DEPTH = Path(os.environ.get("ALIT_DATA", "data")) / "depth"


@pytest.mark.skipif(not DEPTH.is_dir(), reason="no depth below ALIT_DATA")
@pytest.mark.parametrize("name", ["imagenet_midas", "kitchen"])
def test_every_real_pair_is_whole(name):
    source = depth_source(name, DEPTH / name, "val")
    assert len(source) >= 25
    for index in range(len(source)):
        found = source.inverse_depth(index) if name == "imagenet_midas" else source.depth(index)
        assert found.shape == source.read(index).shape[:2]
