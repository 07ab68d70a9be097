"""Embedded scenes: small pictures with label, masks, depth and caption, made from a seed, without a download.

Photographs that come with scikit-image and scikit-learn are the backgrounds and some of the textures, and procedural
objects of ten classes stand in front. `base` scenes train and test the tokenizer. `near` scenes keep the classes but
take photographs and colors that no base scene has. `far` pictures have none of the objects: print, instruments, dense
patterns, inverted and shuffled photographs. In controlled scenes one factor of complexity varies alone. The same seed
gives the same bytes on every platform.
"""

import hashlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alit.data.scenes.layout import GROUND_NAMES, LEVELS, Stage, draw_controlled, draw_stage, photographs_of
from alit.data.scenes.render import Raster, draw_raster
from alit.data.scenes.shapes import SCENE_CLASSES
from alit.data.scenes.textures import (
    BACKDROPS,
    COLORS,
    DIRECTIONS,
    GROUNDS,
    Draws,
    Variant,
    draw_crop,
    read_crop,
    sum_blocks,
)
from alit.data.sources import Factor, Record
from alit.errors import ConfigError, DataError

_STREAMS: dict[Variant, int] = {"base": 0, "near": 1, "far": 2}
_CONTROLLED_STREAM = 3  # of every factor, so that they vary the same scenes
_COUNTS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURALS = {"cross": "crosses"}


class Scene(NamedTuple):
    """A picture with its label, masks, depth and caption."""

    image: np.ndarray  # uint8 (h, w, 3)
    label: int | None  # index into SCENE_CLASSES of the nearest and largest object; None for far pictures
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
    """Make the scene of a seed with one factor at `level` (0 to 1); see `alit.data.scenes.layout.draw_controlled`."""
    stage = draw_controlled(Draws(seed, _CONTROLLED_STREAM), factor, level)
    return _locked(_describe(stage, draw_raster(stage, size)))


def _locked(scene: Scene) -> Scene:
    """Make a scene's arrays read-only: the cache returns the same arrays again."""
    for array in (scene.image, scene.masks, scene.depth):
        array.setflags(write=False)
    return scene


def _describe(stage: Stage, raster: Raster) -> Scene:
    """Return the scene of a drawn stage: instances are numbered without gaps, hidden objects do not count."""
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
    surface = texture.color if texture.pattern is None else f"{texture.color} {texture.pattern}"
    main = f"{_article(surface)} {surface} {SCENE_CLASSES[stage.bodies[0].label]}"
    groups = [_count(others.count(name), name) for name in dict.fromkeys(others)]
    listed = " and ".join([", ".join(groups[:-1]), groups[-1]] if len(groups) > 1 else groups)
    behind = f" in front of {listed}" if groups else ""
    return f"{main}{behind} on {GROUND_NAMES[stage.ground.crop.photo]}"


def _count(number: int, name: str) -> str:
    """Return a number and a noun: "a ball", "two cubes"."""
    word = _COUNTS[number] if number < len(_COUNTS) else str(number)
    return f"{word} {name}" if number == 1 else f"{word} {_PLURALS.get(name, name + 's')}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


_FAR_NAMES = {
    "cell": "a cell under a microscope",
    "hubble": "stars and galaxies",
    "page": "a page of text",
    "retina": "the back of an eye",
    "text": "handwriting on paper",
    "tissue": "stained tissue",
}
_FAR_PATTERNS = ("stripes", "checks", "rings", "a weave")


class FarPicture(NamedTuple):
    """A picture without any object of the scene classes."""

    image: np.ndarray  # uint8 (h, w, 3)
    caption: str


def draw_far(draws: Draws, size: int) -> FarPicture:
    """Choose and draw a far picture.

    It has no complexity: the share of a photograph that is shown and the density of a pattern cannot be compared.
    """
    density = draws.between(0.0, 1.0)
    kind = draws.choice(("print", "instrument", "inverted", "pattern", "shuffled"))
    if kind == "pattern":
        colors, caption = _draw_pattern(draws, size, density)
        return FarPicture(colors.astype(np.uint8), caption)
    photos = GROUNDS["far"] if kind == "print" else BACKDROPS["far"]
    crop = draw_crop(draws, photos, 0.25 + 0.7 * density)
    crop = crop._replace(mirrored=crop.mirrored and kind != "print")  # text stays readable
    colors, caption = read_crop(crop, size), _FAR_NAMES[crop.photo]
    if kind == "inverted":
        # Captions are data: their spelling stays.
        colors, caption = 255 - colors[..., ::-1], f"{caption}, in inverted colours"
    if kind == "shuffled":
        colors, caption = _shuffle(draws, colors, 2 + int(3 * density)), f"{caption}, in shuffled pieces"
    exposed = np.minimum(colors * draws.integer(200, 320) >> 8, 255)
    return FarPicture(exposed.astype(np.uint8), caption)


def _draw_pattern(draws: Draws, size: int, density: float) -> tuple[np.ndarray, str]:
    """Draw a pattern of two colors from one edge of the picture to the other."""
    name, names = draws.choice(_FAR_PATTERNS), tuple(COLORS["far"])
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
    one, two = (np.array(COLORS["far"][names[index]], np.int32) for index in (first, second))
    return (one * (samples**2 - share) + two * share) // samples**2, f"a dense pattern of {name}"


def _shuffle(draws: Draws, colors: np.ndarray, pieces: int) -> np.ndarray:
    """Cut a picture into pieces x pieces squares and put them in another order; pixels beyond the last square stay."""
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


_RANGE = 2**32  # seeds per split


class SceneSource:
    """The first `images` scenes of a variant and split, at `size` pixels per side."""

    skipped = ""

    def __init__(self, name: str, variant: Variant, split: str, images: int, size: int) -> None:
        if images > _RANGE:
            raise DataError(f"expected at most {_RANGE} scenes, got {images}")
        self.name = name
        self.class_names = SCENE_CLASSES
        self._variant: Variant = variant
        self._kind: str = variant
        self._split = split
        self._images = images
        self._size = size
        self._first = first_seed(split)

    def __len__(self) -> int:
        return self._images

    def record(self, index: int) -> Record:
        """Describe one scene; its complexity is the generator's clutter setting or level, not a human score."""
        scene = self._scene(index)
        return Record(
            image_id=f"{self._kind}-{self._split}-{index:06d}",
            origin=f"seed:{self._seed(index)}",
            label=scene.label,
            class_name=scene.class_name,
            split=self._split,
            complexity=scene.complexity,
            caption=scene.caption,
            objects=scene.objects,
        )

    def read(self, index: int) -> np.ndarray:
        """Return one scene, uint8 (h, w, 3)."""
        return self._scene(index).image

    def photographs(self, index: int) -> frozenset[str]:
        """Return the names of the photographs in one scene; not of variant `far`, which is drawn in another way."""
        if self._variant == "far":
            raise ConfigError("expected scenes of variant base or near to name their photographs, found far")
        return photographs_of(draw_stage(Draws(self._seed(index), _STREAMS[self._variant]), self._variant))

    def depth(self, index: int) -> np.ndarray:
        """Return one depth map, float32 (h, w), meters."""
        return self._scene(index).depth

    def inverse_depth(self, index: int) -> np.ndarray | None:
        """Return None: scenes have meters."""
        return None

    def masks(self, index: int) -> np.ndarray:
        """Return one instance map, uint8 (h, w), 0 for background and 1 for the main object."""
        return self._scene(index).masks

    def digest(self, index: int) -> str:
        """Return the sha256 of one scene's pixels, masks and depth."""
        scene = self._scene(index)
        parts = (scene.image, scene.masks, scene.depth.astype("<f4"))
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def _scene(self, index: int) -> Scene:
        """Render a scene; the renderer caches it for the calls that follow."""
        return render_scene(self._seed(index), self._size, self._variant)

    def _seed(self, index: int) -> int:
        return self._first + index


class ControlledSource(SceneSource):
    """Base scenes in which one factor varies: each scene at every level, lowest first, then the next scene."""

    def __init__(self, name: str, factor: Factor, split: str, images: int, size: int) -> None:
        if images % len(LEVELS):
            steps = len(LEVELS)
            raise ConfigError(f"data.sets {name}: expected a multiple of {steps} images, one per level, found {images}")
        super().__init__(name, "base", split, images, size)
        self._factor: Factor = factor
        self._kind = factor

    def _scene(self, index: int) -> Scene:
        return render_controlled(self._seed(index), self._size, self._factor, LEVELS[index % len(LEVELS)])

    def _seed(self, index: int) -> int:
        return self._first + index // len(LEVELS)


def first_seed(split: str) -> int:
    """Return the first seed of a split; the ranges of two splits do not overlap."""
    return int.from_bytes(hashlib.sha256(split.encode()).digest()[:4], "big") * _RANGE
