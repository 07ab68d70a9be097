"""Random resized crops: where they lie, and that cutting one from a file shows what a whole decode would."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torchvision.transforms import RandomResizedCrop

from alit.data.crops import CROP_ASPECT, DRAWS, RandomCrop, cut, read_crop
from alit.data.images import read_image
from alit.errors import DataError

PUBLISHED = (0.8, CROP_ASPECT)


def crop(seed=0, scale=0.8, aspect=CROP_ASPECT):
    return RandomCrop(scale, aspect, np.random.default_rng(seed).random(DRAWS))


def smooth(width, height, seed=0):
    """A picture without edges, in which every place has another color."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **({"format": "JPEG", "quality": 95, "subsampling": 0} | options))
    file.seek(0)
    return file


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99), st.sampled_from([0.05, 0.8, 1.0]))
def test_a_crop_lies_inside_of_the_picture(width, height, seed, scale):
    left, top, right, bottom = crop(seed, scale).box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@settings(max_examples=100, deadline=None)
@given(st.integers(200, 700), st.integers(200, 700), st.integers(0, 999))
def test_its_area_and_aspect_ratio_are_in_bounds_where_a_shape_fits(width, height, seed):
    scale, aspect = 0.3, (3 / 4, 4 / 3)
    left, top, right, bottom = crop(seed, scale, aspect).box(width, height)
    assert 3 / 4 * 0.98 <= (right - left) / (bottom - top) <= 4 / 3 * 1.02
    if 3 / 4 <= width / height <= 4 / 3:
        assert scale * 0.98 <= (right - left) * (bottom - top) / (width * height) <= 1


@pytest.mark.parametrize("size", [(500, 375), (300, 900), (900, 200)])
def test_crops_are_distributed_as_torchvisions(size):
    draws = np.random.default_rng(1)
    ours = np.array([RandomCrop(*PUBLISHED, draws.random(DRAWS)).box(*size) for _ in range(3000)])
    transform, picture = RandomResizedCrop(8, scale=(0.8, 1.0)), torch.empty(3, size[1], size[0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        places = [transform.get_params(picture, transform.scale, transform.ratio) for _ in range(3000)]
    theirs = np.array([(left, top, left + width, top + height) for top, left, height, width in places])
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 2.5
    assert np.abs(ours.std(0) - theirs.std(0)).max() < 2.5


def test_a_place_is_a_function_of_the_draws():
    boxes = [crop(seed).box(500, 375) for seed in (3, 3, 4)]
    assert boxes[0] == boxes[1] != boxes[2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_of_a_turned_photograph_is_that_of_the_upright_one(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(smooth(120, 80), exif=exif)
    upright = ImageOps.exif_transpose(Image.open(file))
    file.seek(0)
    expected = cut(np.asarray(upright), crop(), 64)
    assert np.abs(read_crop(file, crop(), 64).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("side", [64, 100, 131, 200, 400, 900])
def test_decoding_at_a_reduced_size_shows_the_same_crop(side):
    file = saved(smooth(side * 5 // 4 + 1, side))
    expected = cut(read_image(file), crop(2), 64)
    file.seek(0)
    assert np.abs(read_crop(file, crop(2), 64).astype(int) - expected).mean() < 1


@pytest.mark.parametrize(("side", "decoded"), [(100, 100), (400, 100), (1200, 150)])
def test_a_jpeg_is_decoded_no_finer_than_the_crop_needs(side, decoded, monkeypatch):
    sizes = []
    draft = JpegImageFile.draft

    def watched(image, mode, size):
        drafted = draft(image, mode, size)
        sizes.append(image.size)
        return drafted

    monkeypatch.setattr(JpegImageFile, "draft", watched)
    read_crop(saved(smooth(side, side)), crop(scale=0.9), 64)
    assert sizes == [(decoded, decoded)]


def test_a_crop_from_the_file_is_sharper_than_one_of_its_reduced_square():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    file = saved(Image.fromarray(noise), format="PNG")
    from_file = read_crop(file, crop(scale=0.5), 100)
    square = np.asarray(Image.fromarray(noise).resize((100, 100), Image.Resampling.BICUBIC))
    from_square = cut(square, crop(scale=0.5), 100)

    def sharpness(pixels):
        return np.mean([np.abs(np.diff(pixels.astype(float), axis=axis)).mean() for axis in (0, 1)])

    assert sharpness(from_file) > 1.3 * sharpness(from_square)


def test_the_whole_picture_is_a_crop_like_any_other():
    picture = np.asarray(smooth(64, 64))
    assert np.array_equal(cut(picture, crop(scale=1.0, aspect=(1.0, 1.0)), 64), picture)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_kinds_of_files_are_read_as_everywhere(mode):
    file = saved(smooth(90, 70).convert(mode), format="TIFF" if mode == "CMYK" else "PNG")
    expected = cut(read_image(file), crop(), 32)
    file.seek(0)
    assert np.array_equal(read_crop(file, crop(), 32), expected)


def test_a_damaged_file_is_refused(tmp_path):
    whole = saved(smooth(90, 70)).getvalue()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated"):
        read_crop(tmp_path / "cut.jpg", crop(), 32)
    with pytest.raises(DataError, match="no such file"):
        read_crop(tmp_path / "none.jpg", crop(), 32)
