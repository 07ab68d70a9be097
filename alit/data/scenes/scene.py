"""Embedded scenes, near, far and with one controlled factor of complexity, each made from a seed."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alit.data.scenes.layout import (
    GROUND_NAMES,
    Body,
    Stage,
    draw_camera,
    draw_layers,
    draw_main,
    draw_others,
    draw_stage,
)
from alit.data.scenes.photos import BACKDROPS, GROUNDS, Variant, read_crop, sum_blocks
from alit.data.scenes.render import Raster, draw_raster
from alit.data.scenes.shapes import SCENE_CLASSES
from alit.data.scenes.textures import COLOURS, DIRECTIONS, REGULAR_PATTERNS, Draws, Texture, draw_crop, draw_texture
from alit.data.sources.source import FACTORS, Factor

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIDDLE = 0.5  # level of the factors that do not vary
MOST_OTHERS = 8


def draw_controlled(draws: Draws, factor: Factor, level: float) -> Stage:
    """Choose a scene with `factor` at `level` (0 to 1) and the other factors at the middle one.

    The stage's clutter, and so the scene's complexity, is the level.
    """
    levels: dict[Factor, float] = {**dict.fromkeys(FACTORS, MIDDLE), factor: level}
    view = draw_camera(draws)
    drawn = [draw_main(draws, "base", 1.0, view), *draw_others(draws, "base", 1.0, view, MOST_OTHERS)]
    bodies = [_patterned(draws, body, levels["texture"]) for body in drawn]
    shown = 1 + round(levels["objects"] * MOST_OTHERS)
    backdrop, ground = draw_layers(draws, "base", levels["background"])
    light = draws.choice((-1, 1))
    return Stage(level, tuple(bodies[:shown]), backdrop, ground, view.horizon, view.drop, view.wall, light)


def _patterned(draws: Draws, body: Body, level: float) -> Body:
    """Give an object a pattern of two colors, whatever it had, and weaken it to a level."""
    while (texture := draw_texture(draws, "base", 1.0)).pattern not in REGULAR_PATTERNS:
        pass
    return body._replace(texture=_weaken(texture, level))


def _weaken(texture: Texture, level: float) -> Texture:
    """Bring the second color towards the first and make the pattern coarser; at level 0 the surface is plain."""
    red, green, blue = (int(a + (b - a) * level) for a, b in zip(texture.first, texture.second, strict=True))
    return texture._replace(
        pattern=texture.pattern if level > 0 else None,
        second=(red, green, blue),
        frequency=texture.frequency * (0.4 + 0.6 * level),
    )


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
        colors, caption = _draw_pattern(draws, size, density)
        return FarPicture(colors.astype(np.uint8), caption)
    photos = GROUNDS["far"] if kind == "print" else BACKDROPS["far"]
    crop = draw_crop(draws, photos, 0.25 + 0.7 * density)
    crop = crop._replace(mirrored=crop.mirrored and kind != "print")  # text stays readable
    colors, caption = read_crop(crop, size), _NAMES[crop.photo]
    if kind == "inverted":
        colors, caption = 255 - colors[..., ::-1], f"{caption}, in inverted colors"
    if kind == "shuffled":
        colors, caption = _shuffle(draws, colors, 2 + int(3 * density)), f"{caption}, in shuffled pieces"
    exposed = np.minimum(colors * draws.integer(200, 320) >> 8, 255)
    return FarPicture(exposed.astype(np.uint8), caption)


def _draw_pattern(draws: Draws, size: int, density: float) -> tuple[np.ndarray, str]:
    """Draw a pattern of two colors from one edge of the picture to the other."""
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


def _shuffle(draws: Draws, colors: np.ndarray, pieces: int) -> np.ndarray:
    """Cut a picture into pieces x pieces squares and lay them out in another order; a rest stays in place."""
    side = colors.shape[0] // pieces
    order = list(range(pieces * pieces))
    for last in range(len(order) - 1, 0, -1):
        other = draws.integer(0, last + 1)
        order[last], order[other] = order[other], order[last]
    shuffled = colors.copy()
    for place, piece in enumerate(order):
        (row, column), (from_row, from_column) = divmod(place, pieces), divmod(piece, pieces)
        shuffled[row * side : (row + 1) * side, column * side : (column + 1) * side] = colors[
            from_row * side : (from_row + 1) * side, from_column * side : (from_column + 1) * side
        ]
    return shuffled


__all__ = ["SCENE_CLASSES", "Scene", "render_controlled", "render_scene"]

_STREAMS: dict[Variant, int] = {"base": 0, "near": 1, "far": 2}
_CONTROLLED_STREAM = 3  # of every factor, so that they vary the same scenes
_COUNTS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURALS = {"cross": "crosses"}


class Scene(NamedTuple):
    """A picture and everything that is known about it."""

    image: np.ndarray  # uint8 (h, w, 3)
    label: int | None  # class of the nearest and largest object, into SCENE_CLASSES; None for far pictures
    class_name: str | None
    masks: np.ndarray  # uint8 (h, w): 0 background, 1 the main object, then farther ones
    depth: np.ndarray  # float32 (h, w), meters
    objects: int  # objects that show at least one pixel
    complexity: float | None  # the generator's clutter setting or level, 0 to 100, not a human score; None for far
    caption: str


@lru_cache(maxsize=128)
def render_scene(seed: int, size: int, variant: Variant) -> Scene:
    """Make the scene of a seed at `size` pixels per side; its arrays are read-only."""
    draws = Draws(seed, _STREAMS[variant])
    if variant == "far":
        image, caption = draw_far(draws, size)
        masks, depth = np.zeros((size, size), np.uint8), np.ones((size, size), np.float32)  # a print at 1 m
        scene = Scene(image, None, None, masks, depth, 0, None, caption)
    else:
        stage = draw_stage(draws, variant)
        scene = _describe(stage, draw_raster(stage, size))
    return _locked(scene)


@lru_cache(maxsize=128)
def render_controlled(seed: int, size: int, factor: Factor, level: float) -> Scene:
    """Make the scene of a seed with one factor at `level` (0 to 1); see `scene_controlled`."""
    stage = draw_controlled(Draws(seed, _CONTROLLED_STREAM), factor, level)
    return _locked(_describe(stage, draw_raster(stage, size)))


def _locked(scene: Scene) -> Scene:
    """Make a scene's arrays read-only: it is remembered and handed out again."""
    for array in (scene.image, scene.masks, scene.depth):
        array.setflags(write=False)
    return scene


def _describe(stage: Stage, raster: Raster) -> Scene:
    """Finish a drawn stage: instances are numbered without gaps, hidden objects do not count."""
    seen = np.bincount(raster.masks.ravel(), minlength=len(stage.bodies) + 1)[1:] > 0
    numbers = np.concatenate([[0], np.cumsum(seen)]).astype(np.uint8)
    label = stage.bodies[0].label
    return Scene(
        image=np.ascontiguousarray(raster.colors.transpose(1, 2, 0)).astype(np.uint8),
        label=label,
        class_name=SCENE_CLASSES[label],
        masks=numbers[raster.masks],
        depth=raster.depth,
        objects=int(seen.sum()),
        complexity=round(100 * stage.clutter, 1),
        caption=_caption(
            stage,
            [SCENE_CLASSES[body.label] for body, shown in zip(stage.bodies, seen, strict=True) if shown][1:],
        ),
    )


def _caption(stage: Stage, others: list[str]) -> str:
    """Describe a scene: "a red striped star in front of two cubes and a ball on grass"."""
    texture = stage.bodies[0].texture
    look = texture.color if texture.pattern is None else f"{texture.color} {texture.pattern}"
    main = f"{_article(look)} {look} {SCENE_CLASSES[stage.bodies[0].label]}"
    groups = [_count(others.count(name), name) for name in dict.fromkeys(others)]
    listed = " and ".join([", ".join(groups[:-1]), groups[-1]] if len(groups) > 1 else groups)
    behind = f" in front of {listed}" if groups else ""
    return f"{main}{behind} on {GROUND_NAMES[stage.ground.crop.photo]}"


def _count(number: int, name: str) -> str:
    """Say how many there are."""
    word = _COUNTS[number] if number < len(_COUNTS) else str(number)
    return f"{word} {name}" if number == 1 else f"{word} {_PLURALS.get(name, name + 's')}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
