"""Pictures far from the scenes: print, instruments, dense patterns, inverted and shuffled photographs."""

from typing import NamedTuple

import numpy as np

from alit.data.scene_draws import Draws
from alit.data.scene_photos import BACKDROPS, GROUNDS, read_crop, sum_blocks
from alit.data.scene_textures import COLOURS, DIRECTIONS, draw_crop

_NAMES = {
    "cell": "a cell under a microscope",
    "hubble": "stars and galaxies",
    "page": "a page of text",
    "retina": "the back of an eye",
    "text": "handwriting on paper",
    "tissue": "stained tissue",
}
_PATTERNS = ("stripes", "checks", "rings", "a weave")


class FarPicture(NamedTuple):
    """A picture without any object of the scene classes."""

    image: np.ndarray  # uint8 (h, w, 3)
    caption: str


def draw_far(draws: Draws, size: int) -> FarPicture:
    """Choose and draw a far picture.

    It has no complexity: how large a piece of a photograph is shown, or how dense a pattern is, says nothing
    about another kind's detail.
    """
    density = draws.between(0.0, 1.0)
    kind = draws.choice(("print", "instrument", "inverted", "pattern", "shuffled"))
    if kind == "pattern":
        colours, caption = _draw_pattern(draws, size, density)
        return FarPicture(colours.astype(np.uint8), caption)
    photos = GROUNDS["far"] if kind == "print" else BACKDROPS["far"]
    crop = draw_crop(draws, photos, 0.25 + 0.7 * density)
    crop = crop._replace(mirrored=crop.mirrored and kind != "print")  # text stays readable
    colours, caption = read_crop(crop, size), _NAMES[crop.photo]
    if kind == "inverted":
        colours, caption = 255 - colours[..., ::-1], f"{caption}, in inverted colours"
    if kind == "shuffled":
        colours, caption = _shuffle(draws, colours, 2 + int(3 * density)), f"{caption}, in shuffled pieces"
    exposed = np.minimum(colours * draws.integer(200, 320) >> 8, 255)
    return FarPicture(exposed.astype(np.uint8), caption)


def _draw_pattern(draws: Draws, size: int, density: float) -> tuple[np.ndarray, str]:
    """Draw a pattern of two colours from one edge of the picture to the other."""
    name, names = draws.choice(_PATTERNS), tuple(COLOURS["far"])
    first = draws.integer(0, len(names))
    second = (first + draws.integer(1, len(names))) % len(names)
    cosine, sine = draws.choice(DIRECTIONS)
    repeats = 3 + 9 * density
    phase = draws.between(0.0, 1.0)
    samples = 3
    steps = (np.arange(size * samples) + 0.5) / (size * samples) - 0.5
    along = (steps[None, :] * cosine + steps[:, None] * sine) * repeats + phase
    across = (steps[:, None] * cosine - steps[None, :] * sine) * repeats + phase
    if name == "rings":
        along = np.sqrt(along * along + across * across)
    waves = along - np.floor(along) < 0.5
    if name == "checks":
        waves = waves != (across - np.floor(across) < 0.5)
    if name == "a weave":
        waves = waves & (across - np.floor(across) < 0.7)
    blocks = waves.astype(np.int32)
    share = sum_blocks(blocks, samples)[..., None]
    one, two = (np.array(COLOURS["far"][names[index]], np.int32) for index in (first, second))
    return (one * (samples**2 - share) + two * share) // samples**2, f"a dense pattern of {name}"


def _shuffle(draws: Draws, colours: np.ndarray, pieces: int) -> np.ndarray:
    """Cut a picture into pieces x pieces squares and lay them out in another order; a rest stays in place."""
    side = colours.shape[0] // pieces
    order = list(range(pieces * pieces))
    for last in range(len(order) - 1, 0, -1):
        other = draws.integer(0, last + 1)
        order[last], order[other] = order[other], order[last]
    shuffled = colours.copy()
    for place, piece in enumerate(order):
        (row, column), (from_row, from_column) = divmod(place, pieces), divmod(piece, pieces)
        shuffled[row * side : (row + 1) * side, column * side : (column + 1) * side] = colours[
            from_row * side : (from_row + 1) * side, from_column * side : (from_column + 1) * side
        ]
    return shuffled
