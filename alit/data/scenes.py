"""Embedded scenes: small pictures with label, masks, depth and caption, made from a seed, without a download.

Photographs that come with scikit-image and scikit-learn are the backgrounds and some of the textures, and
procedural objects of ten classes stand in front. `base` scenes train and test the tokenizer. `near` scenes
keep the classes but take photographs and colours that no base scene has. `far` pictures have none of the
objects (see `scene_far`). In controlled scenes one factor of complexity varies alone (see `scene_controlled`). The same
seed gives the same bytes on every platform.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alit.config.s_factor import Factor
from alit.data.scene_controlled import draw_controlled
from alit.data.scene_draws import Draws
from alit.data.scene_far import draw_far
from alit.data.scene_layout import GROUND_NAMES, Stage, draw_stage
from alit.data.scene_photos import Variant
from alit.data.scene_render import Raster, draw_raster
from alit.data.scene_shapes import SCENE_CLASSES

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
    depth: np.ndarray  # float32 (h, w), metres
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
        image=np.ascontiguousarray(raster.colours.transpose(1, 2, 0)).astype(np.uint8),
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
    look = texture.colour if texture.pattern is None else f"{texture.colour} {texture.pattern}"
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
