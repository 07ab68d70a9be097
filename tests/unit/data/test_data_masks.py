"""Segmentation masks: three layouts of PNG files, their codings, and masks that follow their images into a set."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alit.data.imageset import open_set
from alit.data.prepare import ImageSetConfig, build_source, write_set
from alit.data.sources import UNKNOWN_SEGMENT
from alit.data.sources.paired import class_ids, masked_source, number_segments, panoptic_ids, plain_ids
from alit.errors import DataError


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photo(path: Path, size: tuple[int, int] = (6, 8)) -> None:
    write(path, np.full((*size, 3), 90, np.uint8))


def colors(*rows: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_imagenet_s_codes_a_class_in_red_and_green_and_ignores_1000():
    coded = colors([(0, 0, 0), (7, 0, 0), (145, 3, 0), (1000 % 256, 1000 // 256, 0)])
    assert class_ids(coded).tolist() == [[0, 7, 913, -1]]


def test_panoptic_codes_a_segment_in_all_three_channels_and_leaves_black_unknown():
    coded = colors([(0, 0, 0), (1, 0, 0), (0, 1, 0), (2, 1, 1)])
    assert panoptic_ids(coded).tolist() == [[-1, 1, 256, 2 + 256 + 65536]]


def test_a_plain_mask_is_read_by_value_or_by_color():
    assert plain_ids(np.array([[0, 3, 255]], np.uint8)).tolist() == [[0, 3, -1]]
    assert plain_ids(np.array([[False, True]])).tolist() == [[0, 1]]
    assert plain_ids(colors([(0, 0, 0), (255, 0, 0), (0, 0, 1)])).tolist() == [[0, 255, 65536]]


def test_segments_are_numbered_in_the_order_of_their_ids():
    numbers = number_segments(np.array([[0, 900, -1], [17, 900, 70000]]))
    assert numbers.dtype == np.uint8
    assert numbers.tolist() == [[0, 2, UNKNOWN_SEGMENT], [1, 2, 3]]


def test_more_segments_than_numbers_are_refused():
    number_segments(np.arange(255)[None])
    with pytest.raises(DataError, match="at most 254"):
        number_segments(np.arange(256)[None])


def test_imagenet_s_layout_pairs_images_and_masks_by_class_folder(tmp_path):
    for wnid, value in (("n01", 1), ("n02", 2)):
        photo(tmp_path / f"validation/{wnid}/a.JPEG")
        write(tmp_path / f"validation-segmentation/{wnid}/a.png", np.full((6, 8, 3), (value, 0, 0), np.uint8))
    source = masked_source("set", tmp_path, "validation", "imagenet_s")
    assert [source.record(index).origin for index in range(2)] == ["validation/n01/a.JPEG", "validation/n02/a.JPEG"]
    assert source.class_names == ("n01", "n02")
    assert (source.masks(0) == 1).all()


@pytest.mark.parametrize("mask", ["annotations/panoptic_val/{}.png", "panoptic_val/{}.png", "val/{}_pan.png"])
def test_panoptic_masks_lie_with_the_annotations_or_beside_their_images(tmp_path, mask):
    segments = np.zeros((6, 8, 3), np.uint8)
    segments[:, 4:] = (5, 1, 0)
    for name in ("000000000001", "000000000002"):
        photo(tmp_path / f"val/{name}.jpg")
        write(tmp_path / mask.format(name), segments)
    source = masked_source("coco", tmp_path, "val", "panoptic")
    assert len(source) == 2
    assert source.class_names == ()
    assert np.unique(source.masks(1)[:, :4]).tolist() == [UNKNOWN_SEGMENT]
    assert np.unique(source.masks(1)[:, 4:]).tolist() == [1]


@pytest.mark.parametrize("mask", ["val_masks/cat/1.png", "val/cat/1_mask.png", "val/cat/1_sem.png"])
def test_plain_masks_lie_in_a_folder_of_their_own_or_beside_their_images(tmp_path, mask):
    photo(tmp_path / "val/cat/1.jpg")
    ids = Image.fromarray(np.full((6, 8), 9, np.uint8), mode="P")
    ids.putpalette([200] * 768)
    (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
    ids.save(tmp_path / mask)
    source = masked_source("set", tmp_path, "val", "masks")
    assert [source.record(index).origin for index in range(len(source))] == ["val/cat/1.jpg"]
    assert source.record(0).class_name == "cat"
    assert (source.masks(0) == 1).all()


def test_images_without_any_mask_are_refused_with_the_places_that_were_searched(tmp_path):
    photo(tmp_path / "val/1.jpg")
    with pytest.raises(DataError, match=r"panoptic_val/<image>\.png or <image>_pan\.png"):
        masked_source("set", tmp_path, "val", "panoptic")


def config(**changes) -> ImageSetConfig:
    fields = {"name": "set", "role": "study", "source": "masks", "path": "set", "variant": "base"}
    return ImageSetConfig.model_validate(fields | {"split": "val", "images": None, "pack": True} | changes)


def test_masks_are_cropped_and_resized_as_their_images_are(tmp_path):
    ids = np.zeros((32, 48), np.uint8)  # the center square is columns 8 to 40, and becomes 8 x 8 of 4 pixels each
    ids[4:16, 12:32] = 7
    ids[20:, :24] = 9
    write(tmp_path / "set/val/1.png", np.repeat((ids > 0)[..., None] * np.uint8(255), 3, axis=-1))
    write(tmp_path / "set/val/1_mask.png", ids)
    settings = config()
    assert write_set(build_source(settings, 8, (tmp_path,)), settings, 8, tmp_path / "out") == []
    found = open_set(tmp_path / "out")
    assert found.role == "study"
    masks = found.masks([0])[0].numpy()
    assert np.array_equal(masks, np.array([0, 1, 2])[np.searchsorted([7, 9], ids, side="right")][2::4, 10:40:4])
    assert np.array_equal(found.images([0])[0, 0].numpy() > 0.5, masks > 0)


def test_an_image_without_a_mask_or_with_one_of_another_size_is_rejected_by_name(tmp_path):
    for name in ("1", "2", "3", "4"):
        photo(tmp_path / f"set/val/{name}.jpg")
    write(tmp_path / "set/val/1_mask.png", np.ones((6, 8), np.uint8))
    write(tmp_path / "set/val/2_mask.png", np.ones((8, 6), np.uint8))
    (tmp_path / "set/val/3_mask.png").write_bytes(b"nothing")
    settings = config()
    refused = write_set(build_source(settings, 8, (tmp_path,)), settings, 8, tmp_path / "out")
    assert [fault.origin for fault in refused] == ["val/2.jpg", "val/3.jpg", "val/4.jpg"]
    reasons = [fault.reason for fault in refused]
    assert reasons[0] == "expected masks of the image's size (6, 8), found (8, 6)"
    assert reasons[1] == "mask 3_mask.png: not an image"
    assert reasons[2] == "no mask file"


COCO = Path(os.environ.get("ALIT_DATA", "data")) / "coco200"


@pytest.mark.skipif(not COCO.is_dir(), reason="no coco200 below ALIT_DATA")
def test_the_real_panoptic_and_semantic_masks_agree():
    segments = masked_source("coco", COCO, "val2017", "panoptic")
    classes = masked_source("coco", COCO, "val2017", "masks")
    assert len(segments) == len(classes) == 100
    for index in range(5):
        fine, coarse = segments.masks(index), classes.masks(index)
        assert fine.shape == segments.read(index).shape[:2]
        assert ((fine == UNKNOWN_SEGMENT) == (coarse == 0)).all()
        assert fine[fine < UNKNOWN_SEGMENT].max() >= coarse.max()
