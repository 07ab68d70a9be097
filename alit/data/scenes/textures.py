"""What scenes are painted with: random draws that never change, photographs and their crops, colors and patterns.

The photographs come with the scikit-image and scikit-learn packages, the only natural images that need no download;
licenses: data/README.md. Crops use whole numbers only, so that they come out the same on every platform.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

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


T = TypeVar("T")

_WORDS = 256  # fetched at once


class Draws:
    """A stream of draws that depends on `seed` and `stream` alone, not on the platform or the release of NumPy.

    NumPy promises the raw stream of a bit generator for ever, but not the values of its distributions (NEP 19), so the
    few distributions that scenes need are computed here from raw 64-bit words.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, stream]))
        self._words: list[int] = []

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high)."""
        if not self._words:
            self._words = self._bits.random_raw(_WORDS).tolist()
        return low + ((self._words.pop() >> 32) * (high - low) >> 32)

    def between(self, low: float, high: float) -> float:
        """Return one of 65,536 evenly spaced numbers in [low, high)."""
        return low + (high - low) * (self.integer(0, 65536) / 65536)

    def chance(self, share: float) -> bool:
        """Return True in `share` of the draws."""
        return self.between(0.0, 1.0) < share

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.integer(0, len(options))]


# No color serves two variants.
COLORS: dict[Variant, dict[str, tuple[int, int, int]]] = {
    "base": {
        "red": (216, 48, 40),
        "orange": (240, 136, 32),
        "yellow": (240, 208, 56),
        "green": (56, 160, 72),
        "blue": (48, 96, 216),
        "purple": (136, 64, 168),
        "white": (236, 234, 228),
        "black": (48, 48, 54),
    },
    "near": {
        "pink": (240, 144, 176),
        "teal": (16, 136, 136),
        "olive": (128, 128, 40),
        "brown": (128, 80, 48),
        "maroon": (120, 24, 56),
        "turquoise": (88, 216, 208),
        "beige": (216, 192, 152),
        "grey": (136, 140, 146),  # captions are data: their spelling stays
    },
    "far": {"ink": (24, 24, 40), "paper": (240, 236, 220), "magenta": (232, 32, 168), "lime": (168, 240, 40)},
}
REGULAR_PATTERNS = ("striped", "spotted", "checked")  # of two colors
PATTERNS = (*REGULAR_PATTERNS, "mottled")

# Cosine and sine every 22.5 degrees, rounded so that no mathematics library matters.
DIRECTIONS = ((1.0, 0.0), (0.92388, 0.38268), (0.70711, 0.70711), (0.38268, 0.92388))
DIRECTIONS = (*DIRECTIONS, *((-s, c) for c, s in DIRECTIONS))


class Texture(NamedTuple):
    """The surface of an object; `pattern` is None for a plain one."""

    color: str
    pattern: str | None
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    frequency: float  # repeats over the half width of the object
    direction: tuple[float, float]
    phase: float
    crop: Crop  # the photograph whose grain a mottled surface has


def draw_texture(draws: Draws, variant: Variant, clutter: float) -> Texture:
    """Choose a surface; with `clutter` (0 to 1) patterns become likelier, finer and stronger."""
    palette = COLORS[variant]
    names = tuple(palette)
    color, other = draws.choice(names), draws.choice(names)
    first, second = (_jitter(draws, palette[name]) for name in (color, other))
    strength = 0.3 + 0.7 * clutter
    mixed = tuple(int(a + (b - a) * strength) for a, b in zip(first, second, strict=True))
    pattern = draws.choice(PATTERNS) if draws.chance(0.15 + 0.75 * clutter) else None
    if other == color and pattern != "mottled":
        pattern = None
    return Texture(
        color=color,
        pattern=pattern,
        first=first,
        second=(mixed[0], mixed[1], mixed[2]),
        frequency=draws.between(0.8, 1.2) * (1.3 + 1.7 * clutter),
        direction=draws.choice(DIRECTIONS),
        phase=draws.between(0.0, 1.0),
        crop=draw_crop(draws, (*BACKDROPS[variant], *GROUNDS[variant]), 0.15 + 0.35 * clutter),
    )


def draw_crop(draws: Draws, photos: tuple[str, ...], share: float) -> Crop:
    """Choose a square whose side is `share` of a photograph's short side."""
    name = draws.choice(photos)
    height, width = load_photo(name).pixels.shape[:2]
    side = max(4, int(min(height, width) * share))
    top, left = draws.integer(0, height - side + 1), draws.integer(0, width - side + 1)
    return Crop(name, top, left, side, draws.chance(0.5))


def _jitter(draws: Draws, color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Vary a color within its name."""
    red, green, blue = (min(255, max(0, value + draws.integer(-18, 19))) for value in color)
    return red, green, blue


def paint(texture: Texture, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray | int, ...]:
    """Return the three channels of a surface, int32 (h, w) in [0, 255] or one number for all of it.

    Args:
        texture: of the surface.
        u, v: coordinates on the object, float32 (h, w).
    """
    if texture.pattern is None:
        return texture.first
    if texture.pattern == "mottled":
        return _mottle(texture, u.shape)
    mask = _pattern_mask(texture, u, v)
    return tuple(np.where(mask, b, a).astype(np.int32) for a, b in zip(texture.first, texture.second, strict=True))


def _pattern_mask(texture: Texture, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return where the second color shows, bool (h, w)."""
    cosine, sine = (np.float32(value) for value in texture.direction)
    scale, phase = np.float32(texture.frequency), np.float32(texture.phase)
    along = (u * cosine + v * sine) * scale + phase
    along = along - np.floor(along)
    if texture.pattern == "striped":
        return along < 0.45
    across = (v * cosine - u * sine) * scale + phase
    across = across - np.floor(across)
    if texture.pattern == "checked":
        return (along < 0.5) != (across < 0.5)
    return (along - 0.5) * (along - 0.5) + (across - 0.5) * (across - 0.5) < 0.1


def _mottle(texture: Texture, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Give the first color the grain of a photograph: where the photograph is twice its mean, the color doubles."""
    grain = read_crop(texture.crop, max(shape)).sum(axis=-1, dtype=np.int32)[: shape[0], : shape[1]]
    mean = max(1, int(grain.sum(dtype=np.int64)) // grain.size)
    return tuple(np.minimum(grain * value // mean, 255) for value in texture.first)
