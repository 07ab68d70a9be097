"""Embedded scenes as image sources: a split is a range of seeds."""

import hashlib

import numpy as np

from alit.data.scenes.layout import LEVELS
from alit.data.scenes.photos import Variant
from alit.data.scenes.scene import Scene, render_controlled, render_scene
from alit.data.scenes.shapes import SCENE_CLASSES
from alit.data.sources.source import Factor, Record
from alit.errors import ConfigError, DataError

_RANGE = 2**32  # seeds per split


class SceneSource:
    """The first `images` scenes of a variant and split, at `size` pixels per side."""

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
