"""The photographs inside the scikit-image and scikit-learn packages, and exact crops of them.

They are the only natural images that need no download. Licenses: data/README.md. Crops use whole numbers
only, so that they come out the same on every platform.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from alit.data.images import read_image
from alit.errors import DataError

Variant = Literal["base", "near", "far"]

# name -> (distribution, file, whole-number reduction, which keeps the tables of sums small)
_FILES = {
    "astronaut": ("scikit-image", "skimage/data/astronaut.png", 1),
    "brick": ("scikit-image", "skimage/data/brick.png", 1),
    "camera": ("scikit-image", "skimage/data/camera.png", 1),
    "cell": ("scikit-image", "skimage/data/cell.png", 1),
    "chelsea": ("scikit-image", "skimage/data/chelsea.png", 1),
    "china": ("scikit-learn", "sklearn/datasets/images/china.jpg", 1),
    "coffee": ("scikit-image", "skimage/data/coffee.png", 1),
    "coins": ("scikit-image", "skimage/data/coins.png", 1),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg", 1),
    "grass": ("scikit-image", "skimage/data/grass.png", 1),
    "gravel": ("scikit-image", "skimage/data/gravel.png", 1),
    "hubble": ("scikit-image", "skimage/data/hubble_deep_field.jpg", 2),
    "moon": ("scikit-image", "skimage/data/moon.png", 1),
    "motorcycle": ("scikit-image", "skimage/data/motorcycle_left.png", 1),
    "page": ("scikit-image", "skimage/data/page.png", 1),
    "retina": ("scikit-image", "skimage/data/retina.jpg", 3),
    "rocket": ("scikit-image", "skimage/data/rocket.jpg", 1),
    "text": ("scikit-image", "skimage/data/text.png", 1),
    "tissue": ("scikit-image", "skimage/data/ihc.png", 1),
}

# No photograph serves two variants.
BACKDROPS: dict[Variant, tuple[str, ...]] = {
    "base": ("astronaut", "chelsea", "china", "coffee", "motorcycle"),
    "near": ("flower", "rocket", "camera"),
    "far": ("hubble", "retina", "tissue", "cell"),
}
GROUNDS: dict[Variant, tuple[str, ...]] = {
    "base": ("grass", "gravel", "brick"),
    "near": ("moon", "coins"),
    "far": ("page", "text"),
}


class Photo(NamedTuple):
    """A photograph and its table of sums."""

    pixels: np.ndarray  # int32 (h, w, 3)
    sums: np.ndarray  # int32 (h + 1, w + 1, 3): sums[y, x] adds pixels[:y, :x]; 255 * h * w stays below 2 ** 31


class Crop(NamedTuple):
    """A square of a photograph, in its pixels."""

    photo: str
    top: int
    left: int
    side: int
    mirrored: bool


@cache
def load_photo(name: str) -> Photo:
    """Load a bundled photograph.

    Raises:
        DataError: this release of the package no longer bundles it.
    """
    package, file, reduction = _FILES[name]
    try:
        path = Path(str(distribution(package).locate_file(file)))
        pixels = read_image(path).astype(np.int32)
    except (PackageNotFoundError, DataError) as error:
        raise DataError(
            f"expected {file} inside {package}, found none ({error}); install the locked releases"
        ) from error
    height, width = (extent // reduction * reduction for extent in pixels.shape[:2])
    pixels = sum_blocks(pixels[:height, :width], reduction) // reduction**2
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1, 3), np.int32)
    sums[1:, 1:] = pixels.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
    return Photo(pixels, sums)


def sum_blocks(values: np.ndarray, block: int) -> np.ndarray:
    """Add up blocks of `block` x `block` over the first two axes; far faster than a reshaped sum."""
    rows = sum((values[start::block] for start in range(1, block)), values[0::block])
    return sum((rows[:, start::block] for start in range(1, block)), rows[:, 0::block])


def read_crop(crop: Crop, size: int) -> np.ndarray:
    """Return a crop, int32 (size, size, 3) in [0, 255]: box average to shrink, bilinear to enlarge."""
    photo = load_photo(crop.photo)
    pixels = _shrink(photo.sums, crop, size) if crop.side >= size else _enlarge(photo.pixels, crop, size)
    return pixels[:, ::-1] if crop.mirrored else pixels


def _shrink(sums: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """Average the photograph over the box of each output pixel, its edges rounded outwards."""
    steps = np.arange(size)
    first, last = steps * crop.side // size, -(-(steps + 1) * crop.side // size)
    upper, lower = sums[crop.top + first], sums[crop.top + last]
    left, right = crop.left + first, crop.left + last
    total = lower[:, right] - lower[:, left] - upper[:, right] + upper[:, left]
    extent = (last - first).astype(np.int32)
    return total // (extent[:, None] * extent)[..., None]


def _enlarge(pixels: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """Interpolate between pixel centers in steps of 1/256 pixel."""
    square = pixels[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    position = ((2 * np.arange(size) + 1) * crop.side * 128 // size - 128).clip(0, (crop.side - 1) * 256)
    first, weight = position >> 8, (position & 255).astype(np.int32)
    second = np.minimum(first + 1, crop.side - 1)
    rows = square[first] * (256 - weight)[:, None, None] + square[second] * weight[:, None, None]
    columns = rows[:, first] * (256 - weight)[:, None] + rows[:, second] * weight[:, None]
    return columns >> 16
