"""Reading an image file into 8-bit RGB, with every unusual kind of file handled on purpose.

| kind of file | what happens |
|---|---|
| greyscale, bilevel | the value is repeated in three channels |
| transparent (RGBA, LA, palette or tRNS transparency) | composited over white |
| palette | looked up |
| CMYK, YCbCr, LAB | Pillow's conversion; colour profiles are ignored, as ImageNet pipelines do |
| 16-bit greyscale | scaled so that 65535 becomes 255 |
| 16-bit colour | Pillow keeps the high byte of each channel |
| EXIF orientation | applied |
| animation, multi-page | the first frame |
| floating point, 32-bit integers | refused: their range is not known |
| truncated, corrupt, not an image | refused |
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from alit.errors import DataError

# What Pillow's readers raise on damaged files, beside its own UnidentifiedImageError (an OSError).
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError)
BROKEN = (*_DAMAGE, struct.error, zlib.error, MemoryError, Image.DecompressionBombError)


def read_image(path: Path) -> np.ndarray:
    """Decode an image file into uint8 (h, w, 3).

    Raises:
        DataError: the file cannot be decoded whole; the message is the reason, without the path.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except BROKEN as error:
        raise DataError(describe_fault(error)) from error
    return to_rgb(upright)


def read_pixels(path: Path) -> np.ndarray:
    """Read an image file as it is coded: values or palette indices (h, w), or colours (h, w, channels).

    Raises:
        DataError: as `read_image`.
    """
    try:
        with Image.open(path) as image:
            return np.array(image)
    except BROKEN as error:
        raise DataError(describe_fault(error)) from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """Turn a loaded image of any mode into uint8 (h, w, 3); see the table above."""
    if image.mode == "F":
        raise DataError("floating-point pixels of unknown range")
    if image.mode.startswith("I"):
        return _from_16_bit(np.asarray(image))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.array(image.convert("RGB"))


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    """Scale 16-bit greyscale to 8 bit, rounding to nearest: 65535 = 255 * 257."""
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise DataError("32-bit integer pixels of unknown range")
    grey = ((wide + 128) // 257).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def describe_fault(error: BaseException) -> str:
    """Say in one line why a file could not be read, without the path, which the report names already."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return " ".join(str(error).split()) or type(error).__name__
