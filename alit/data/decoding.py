"""Decode one picture file with Pillow: its pixels are right, or it is refused with the reason.

Pillow opens more formats than can be checked, and leaves the meaning of some values to its caller. Only formats whose
pixels agree with other readers are accepted, and what a file says about its values (bit depth, sign, which end is
white, what is transparent) is read here. Of metadata, the EXIF orientation alone is read: a file whose metadata make
Pillow fail is decoded once more without them.
"""

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from alit.data.jpeg2000 import require_plain_values
from alit.data.metadata import exif_orientation, file_orientation, without_metadata
from alit.errors import DataError

# By Pillow's names. Of TGA, XBM, PCX and others it reads some files otherwise than ImageMagick does.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
PictureFile = str | os.PathLike[str] | BinaryIO
Size = tuple[int, int]  # width, height

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
_TIFF_WHITE_IS_ZERO, _TIFF_CMYK, _TIFF_YCBCR = 0, 5, 6
_REC_601 = (0.299, 0.587, 0.114)  # of YCbCr, as every reader has it


class Decoded(NamedTuple):
    """A picture, upright, in mode RGB."""

    image: Image.Image
    size: Size  # without the reduction
    reduction: float  # how much smaller the decoder made it, as the caller allowed


def decode(file: PictureFile, least: Callable[[Size], Size] | None = None) -> Decoded:
    """Decode a picture file, given by its path or open.

    Args:
        file: the file; one that is open is read from its beginning.
        least: takes the size of the upright picture and returns the least that the caller needs of it; a JPEG is then
            decoded at half, a quarter or an eighth where that is enough.

    Raises:
        DataError: the file cannot be decoded whole, or the meaning of its values is not known; the message is the
            reason, without the path. A decoder fails with no other exception.
    """
    try:
        return _decode(file, least, None)
    except (DataError, FileNotFoundError, Image.DecompressionBombError, MemoryError) as error:
        raise DataError(describe_fault(error)) from error
    except Exception as error:  # decoders fail with anything
        try:
            content = _content(file)
            bare = without_metadata(content)
            if bare == content:
                raise DataError(describe_fault(error)) from error
            return _decode(BytesIO(bare), least, file_orientation(content))
        except Exception:
            raise DataError(describe_fault(error)) from error


def read_pixels(file: PictureFile) -> np.ndarray:
    """Decode a file as it is coded: values or palette indices (h, w), or colors (h, w, channels).

    Raises:
        DataError: as `decode`.
    """
    try:
        with Image.open(file) as image:
            return np.array(image)
    except Exception as error:
        raise DataError(describe_fault(error)) from error


def describe_fault(error: BaseException) -> str:
    """Return one line on why a file could not be read, without the path, which the caller names."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _content(file: PictureFile) -> bytes:
    if isinstance(file, str | os.PathLike):
        return Path(file).read_bytes()
    file.seek(0)
    return file.read()


def _decode(file: PictureFile, least: Callable[[Size], Size] | None, orientation: int | None) -> Decoded:
    """Decode; an `orientation` that is given counts in place of the file's own."""
    with Image.open(file) as image:
        if image.format not in FORMATS:
            raise DataError(f"{image.format} files are not read: convert it to PNG, JPEG, TIFF or WebP")
        coding = _coding(image)
        orientation = _orientation(image) if orientation is None else orientation
        width, height = image.size
        size = (height, width) if orientation in _SWAPS_SIDES else (width, height)
        reduction = _reduce(image, size, least, orientation)
        image.load()
        colors = _to_rgb(image, coding)
    turn = _TURNS.get(orientation)
    return Decoded(colors if turn is None else colors.transpose(turn), size, reduction)


def _reduce(image: Image.Image, size: Size, least: Callable[[Size], Size] | None, orientation: int) -> float:
    """Let a JPEG decoder make the image smaller; return by how much it will. `size` is that of the upright picture."""
    if least is None or image.format not in ("JPEG", "MPO"):
        return 1.0
    wanted, width = least(size), image.width
    drafted = image.draft(None, wanted[::-1] if orientation in _SWAPS_SIDES else wanted)  # type: ignore[arg-type]
    return 1.0 if drafted is None else width / drafted[1][2]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is to be applied, 1 where there is none that can be read."""
    if image.format == "TIFF":
        image.info.pop("xmp", None)
        return 1  # Pillow turns these while it loads them, where their tag does not say it also by XMP
    if image.format == "PNG":
        image.load()  # the chunk of EXIF may stand behind the pixels
    return exif_orientation(image.info.get("exif")) or _raw_profile_orientation(image) or 1


def _raw_profile_orientation(image: Image.Image) -> int | None:
    """Read the orientation where ImageMagick keeps EXIF in a PNG: as digits in a text."""
    text = str(image.info.get("Raw profile type exif", "")) or str(image.info.get("Raw profile type APP1", ""))
    digits = "".join(text.split("\n")[3:])
    try:
        return exif_orientation(bytes.fromhex(digits))
    except ValueError:
        return None


class _Coding(NamedTuple):
    """What a file says about its values that is gone after loading."""

    rawmode: str
    white: int | None = None  # of 16-bit values; None where they have no known range
    inverted: bool = False  # 16-bit values with zero as white
    color_map: bytes | None = None  # to use in place of Pillow's
    adobe: bool = True  # CMYK as Adobe has it in a JPEG, inverted; Pillow assumes it


def _coding(image: Image.Image) -> _Coding:
    """Read how an image is coded, before it is loaded.

    Raises:
        DataError: its values have a meaning that Pillow does not regard.
    """
    rawmode = _rawmode(image)
    if image.format == "TIFF":
        return _tiff_coding(getattr(image, "tag_v2", {}), rawmode)
    if image.format == "JPEG2000":
        _require_plain_jpeg_2000(image)
    if image.format == "GIF":
        _require_whole_frame(image)
    white = 65535 if image.format in ("PNG", "PPM", "JPEG2000") else None
    return _Coding(rawmode, white, adobe=image.format not in ("JPEG", "MPO") or "adobe" in image.info)


def _rawmode(image: Image.Image) -> str:
    arguments = image.tile[0][3] if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _tiff_coding(tags: Any, rawmode: str) -> _Coding:
    bits, sample = tags.get(258, (1,)), tags.get(339, (1,))
    photometric, compression = tags.get(262), tags.get(259, 1)
    if 2 in sample:
        raise DataError("signed integers of unknown range")
    if tuple(tags.get(338, ()))[:1] == (0,):
        raise DataError("a further channel of unknown meaning, which some readers take for transparency")
    if photometric == _TIFF_YCBCR:
        weights = tags.get(529, _REC_601)
        if not np.allclose(weights, _REC_601, atol=1e-3):
            raise DataError(f"YCbCr colors with the weights {tuple(map(float, weights))} instead of {_REC_601}")
        if compression == 6:
            raise DataError("JPEG compression of the old style, which readers take for different colors")
        if compression != 7 and tuple(tags.get(530, (2, 2))) != (1, 1):
            raise DataError("subsampled YCbCr colors without JPEG compression")
    if photometric == _TIFF_CMYK and (tags.get(332, 1) != 1 or compression in (6, 7)):
        raise DataError("inks whose colors are not known")
    if tags.get(284, 1) == 2 and len(bits) > 1 and max(bits) > 8:
        raise DataError(f"planes of {max(bits)} bits each, one color after another")
    entries = tags.get(320)
    narrow = entries is not None and len(entries) and max(entries) < 256  # as some old writers have it
    return _Coding(
        rawmode,
        white=2 ** bits[0] - 1 if bits[0] in (12, 16) else None,
        inverted=photometric == _TIFF_WHITE_IS_ZERO,
        color_map=bytes(entries) if entries is not None and narrow else None,
    )


def _require_plain_jpeg_2000(image: Image.Image) -> None:
    file = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    header = file.read(2**20)
    file.seek(place)
    require_plain_values(header)


def _require_whole_frame(image: Image.Image) -> None:
    """Refuse a GIF whose first frame leaves some of the picture open.

    Readers fill that with the background color, with the first of the palette (Pillow), or with nothing (browsers).
    """
    frame = image.tile[0][1] if image.tile else None  # type: ignore[attr-defined]
    if frame != (0, 0, *image.size):
        raise DataError("a first frame that does not cover the picture, whose rest readers fill with different colors")


def _to_rgb(image: Image.Image, coding: _Coding) -> Image.Image:
    """Turn a loaded image of any mode into one of mode RGB."""
    if image.mode == "F":
        raise DataError("floating-point pixels of unknown range")
    if image.mode.startswith("I"):
        return _from_16_bit(image, coding)
    if image.mode == "P":
        _require_colors(image, coding)
    if image.mode == "CMYK" and not coding.adobe:
        image = Image.eval(image, lambda value: 255 - value)
    if image.has_transparency_data:
        image = _over_white(image, coding)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image, coding: _Coding) -> Image.Image:
    """Scale 16-bit grayscale to 8 bit, rounding to nearest, and put it over white where it is transparent."""
    if coding.white is None:
        raise DataError(f"integers of unknown range in a {image.format} file")
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > coding.white:
        raise DataError(f"integers of unknown range: expected 0 to {coding.white}")
    gray = (values * 255 * 2 + coding.white) // (2 * coding.white)
    if coding.inverted:
        gray = 255 - gray
    transparent = image.info.get("transparency")
    if transparent is not None:
        gray[values == transparent] = 255
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")


def _require_colors(image: Image.Image, coding: _Coding) -> None:
    """Give a palette the colors that its file means, and refuse indices without a color."""
    if coding.color_map is not None:
        image.putpalette(coding.color_map, "RGB;L")
    palette = image.palette
    if palette is None:
        raise DataError("indices without a palette")
    colors = len(palette.palette) // len(palette.mode)
    if colors and np.asarray(image).max() >= colors:
        raise DataError(f"a pixel without a color: its palette has {colors}")


def _over_white(image: Image.Image, coding: _Coding) -> Image.Image:
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and "16" in coding.rawmode:
        raise DataError("a transparent color of 16 bits, which 8 bits cannot tell from others")
    if image.mode == "L" and isinstance(transparent, int) and (bits := re.fullmatch(r"L;([24])", coding.rawmode)):
        # Pillow scales the pixels of 2 and 4 bits to 8, but not the value that is transparent.
        largest = 2 ** int(bits[1]) - 1
        image.info["transparency"] = (transparent & largest) * (255 // largest)
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    opaque = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
