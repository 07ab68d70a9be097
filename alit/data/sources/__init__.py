"""Collections of images of every supported layout, and what one must offer to become an image set."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
Factor = Literal["objects", "texture", "background"]  # of complexity; controlled scenes differ in one alone
FACTORS: Final = ("objects", "texture", "background")
UNKNOWN_SEGMENT = 255  # in masks: unlabeled pixels


class Record(NamedTuple):
    """What is known about one image, without its pixels; unknown values are None."""

    image_id: str  # unique within its set
    origin: str  # path relative to the set's folder, "seed:<n>" or "row:<n>"
    label: int | None  # index into the source's class names
    class_name: str | None
    split: str
    complexity: float | None  # 0 to 100
    caption: str | None
    objects: int | None  # number of objects in the picture


class ImageSource(Protocol):
    """Images in a fixed order, decoded one at a time; an unreadable one raises `DataError` with the reason."""

    @property
    def name(self) -> str:
        """Name of the set."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names that labels index; empty when the images have no labels."""
        ...

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Describe one image."""
        ...

    def read(self, index: int) -> np.ndarray:
        """Decode one image: uint8 (h, w, 3) at its own size."""
        ...

    def depth(self, index: int) -> np.ndarray | None:
        """Return meters from the camera, float32 (h, w), where they are known."""
        ...

    def inverse_depth(self, index: int) -> np.ndarray | None:
        """Return relative inverse depth where it is known: float32 (h, w), larger is nearer, of any scale and shift.

        Pixels that are not finite are unknown.
        """
        ...

    def masks(self, index: int) -> np.ndarray | None:
        """Return the segment of each pixel, if there are masks: uint8 (h, w), 0 background, 255 unknown."""
        ...

    def digest(self, index: int) -> str:
        """Return the sha256, in hex, of the image's file or, where there is none, of its pixels."""
        ...


def list_images(folder: Path) -> list[Path]:
    """Return every image file below `folder`, however deep, in the order of their relative paths.

    Links to folders are followed, so that class folders may be linked out of a larger set.
    """
    if not folder.is_dir():
        return []
    return sorted(map(Path, walk_images(folder)), key=lambda path: path.relative_to(folder).as_posix())


def walk_images(folder: Path | str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the path of every image file below `folder` in no order; a link to a folder `above` it ends there."""
    here = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if not (entry.is_symlink() and os.path.realpath(entry.path) in here):
                    yield from walk_images(entry.path, here)
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file():
                yield entry.path
