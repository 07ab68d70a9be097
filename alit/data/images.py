"""From image files to the square views that networks take; every unusual kind of file is handled on purpose.

What happens to a file that is

- grayscale, bilevel: the value is repeated in three channels
- transparent (RGBA, LA, palette or tRNS transparency): composited over white
- palette: looked up; an index without a color is refused
- CMYK, YCbCr, LAB: Pillow's conversion; color profiles are ignored, as ImageNet pipelines do
- 12-bit and 16-bit grayscale: scaled so that the largest value becomes 255; transparency and white-is-zero count
- 16-bit color: Pillow keeps the high byte of each channel; a single transparent color is refused
- EXIF orientation: applied; no other metadata are read, and none that is damaged matters
- animation, multi-page: the first frame
- floating point, 32-bit or signed integers: refused: their range is not known
- truncated, corrupt, not an image: refused
- any format but AVIF, BMP, GIF, ICO, JPEG, JPEG 2000, PNG, PPM, TIFF, WebP: refused

Files are decoded without torch, which only the functions that return tensors import.
"""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange
from PIL import Image

from alit.data.decoding import PictureFile, decode
from alit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def read_image(file: PictureFile) -> np.ndarray:
    """Decode an image file, given by its path or open, into uint8 (h, w, 3).

    Raises:
        DataError: the file cannot be decoded whole; the message is the reason, without the path.
    """
    return np.array(decode(file).image)


def center_view(array: np.ndarray, size: int) -> np.ndarray:
    """Return the center square of uint8 (h, w, 3), resized to (size, size, 3).

    Equal to resizing the short side with antialiased bicubic interpolation and cropping the center, the
    evaluation view of ImageNet models, but cropped first, so that a picture one pixel wide costs no memory.
    """
    return np.array(_resize(Image.fromarray(array), size, Image.Resampling.BICUBIC))


def center_map(array: np.ndarray, size: int) -> np.ndarray:
    """Return the same view of a map (h, w), float32 or uint8, by nearest neighbor: no value is invented."""
    return np.array(_resize(Image.fromarray(array), size, Image.Resampling.NEAREST))


def _resize(image: Image.Image, size: int, method: Image.Resampling) -> Image.Image:
    """Resize the center square; a square image of the right size passes unchanged."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), method, box=(left, top, left + side, top + side))


def to_tensor(array: np.ndarray) -> "Tensor":
    """Return an array as a tensor of the same type that shares its memory."""
    import torch

    return torch.from_numpy(array)


def to_images(pixels: "np.ndarray | Tensor") -> "Tensor":
    """Turn uint8 (b, h, w, 3) into float32 (b, 3, h, w) in [0, 1], on the device where a tensor is."""
    import torch

    images = rearrange(torch.as_tensor(pixels), "b h w c -> b c h w")
    return images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)  # one pass, one allocation


def to_8_bit(values: "Tensor") -> np.ndarray:
    """Return values in [0, 1] as uint8, clipped and rounded, halves to even."""
    return values.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy()


def to_pixels(images: "Tensor") -> np.ndarray:
    """Turn images (..., 3, h, w) in [0, 1] into uint8 (..., h, w, 3), as `to_8_bit` does; undoes `to_images`."""
    return rearrange(to_8_bit(images), "... c h w -> ... h w c")


def to_png(pixels: np.ndarray, *, optimize: bool = False) -> bytes:
    """Return the PNG file of a picture, uint8 (h, w, 3), or (h, w) of one channel.

    Args:
        pixels: the picture.
        optimize: look for the smallest file, which takes longer.
    """
    Image.fromarray(np.ascontiguousarray(pixels)).save(file := BytesIO(), "PNG", optimize=optimize)
    return file.getvalue()


def load_images(paths: Iterable[str | Path], *, size: int) -> "Tensor":
    """Read picture files into float32 images (b, 3, size, size) in [0, 1]; b may be zero.

    Each is cut to its center square and resized with antialiased bicubic interpolation; the table of `alit.data.images`
    lists what happens to transparency, 16 bits, orientation and the like.

    Raises:
        DataError: a file is missing or cannot be decoded whole; the message names it.
    """
    return batch_of([read_view(Path(path), size) for path in paths], size)


def read_view(path: Path, size: int) -> np.ndarray:
    """Read the center view of one picture file, uint8 (size, size, 3).

    Raises:
        DataError: the file is missing or cannot be decoded whole; the message names it.
    """
    try:
        return center_view(read_image(path), size)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def batch_of(views: list[np.ndarray], size: int) -> "Tensor":
    """Stack views of uint8 (size, size, 3) into images (b, 3, size, size) in [0, 1]; b may be zero."""
    return to_images(np.stack(views) if views else np.empty((0, size, size, 3), np.uint8))
