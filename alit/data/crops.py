"""Random resized crops: where one lies in a picture, and how one is cut from a file, decoded no finer than needed.

The crop is that of the published training, torchvision's `RandomResizedCrop` (Szegedy et al., arXiv:1409.4842): a share
of the picture's area and an aspect ratio, both drawn, resized to a square. Here it comes from numbers that the caller
has drawn, so that it depends on no state, and box and size are one step: what lies outside of the box is not resized.
"""

import math
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from alit.data.decoding import decode

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

CROP_ASPECT = (3 / 4, 4 / 3)  # least and greatest width over height, of the published training and by default
_ATTEMPTS = 10  # torchvision's: shapes that are drawn before the crop falls back to the center
DRAWS = 2 * _ATTEMPTS + 2  # an area and an aspect ratio each, then the place
_GAP = 2.0  # how much larger than asked Pillow's quick reduction leaves an image before it filters; its own default


class RandomCrop(NamedTuple):
    """A crop of a picture whose size is not known yet."""

    scale: float  # least share of the picture's area; the largest is 1
    aspect: tuple[float, float]  # least and greatest width over height
    draws: np.ndarray  # (DRAWS,), uniform in [0, 1)

    def box(self, width: int, height: int) -> Box:
        """Return where the crop lies in a picture of this size.

        The first of ten drawn shapes that fits is taken, anywhere with the same probability; if none fits, the largest
        box in the center that keeps the aspect ratio in bounds.
        """
        shapes = self.draws[:-2].reshape(_ATTEMPTS, 2)
        low, high = (math.log(bound) for bound in self.aspect)
        for area_draw, aspect_draw in shapes:
            area = width * height * (self.scale + (1 - self.scale) * area_draw)
            aspect = math.exp(low + (high - low) * aspect_draw)
            across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < across <= width and 0 < down <= height:
                left = int(self.draws[-2] * (width - across + 1))
                top = int(self.draws[-1] * (height - down + 1))
                return left, top, left + across, top + down
        across = max(1, min(width, round(height * self.aspect[1])))
        down = max(1, min(height, round(width / self.aspect[0])))
        left, top = (width - across) // 2, (height - down) // 2
        return left, top, left + across, top + down


def cut(array: np.ndarray, crop: RandomCrop, size: int) -> np.ndarray:
    """Cut a crop from pixels uint8 (h, w, 3) and resize it to (size, size, 3)."""
    image = Image.fromarray(array)
    return _resize(image, crop.box(*image.size), 1, size)


def read_crop(file: Path | BinaryIO, crop: RandomCrop, size: int) -> np.ndarray:
    """Cut a crop from a picture file, upright, and resize it to uint8 (size, size, 3).

    A JPEG is decoded at half, a quarter or an eighth of its size where the crop then still has `size` pixels per side.
    All else is as in `alit.data.images.read_image`.

    Raises:
        DataError: the file cannot be decoded whole; the message is the reason, without the path.
    """

    def least(picture: tuple[int, int]) -> tuple[int, int]:
        """Return the least size of the whole picture with `size` pixels per side of the crop."""
        left, top, right, bottom = crop.box(*picture)
        return math.ceil(picture[0] * size / (right - left)), math.ceil(picture[1] * size / (bottom - top))

    decoded = decode(file, least)
    return _resize(decoded.image, crop.box(*decoded.size), decoded.reduction, size)


def _resize(image: Image.Image, box: Box, reduction: float, size: int) -> np.ndarray:
    """Resize a box, given in pixels of the image before it was reduced; bilinear and antialiased, as torchvision's."""
    left, top, right, bottom = (edge / reduction for edge in box)
    inside = left, top, min(right, image.width), min(bottom, image.height)
    return np.array(image.resize((size, size), Image.Resampling.BILINEAR, box=inside, reducing_gap=_GAP))
