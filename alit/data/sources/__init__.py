"""Collections of images of every supported layout, and what one must offer to become an image set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

Factor = Literal["objects", "texture", "background"]  # of complexity; controlled scenes differ in one alone
FACTORS: Final = ("objects", "texture", "background")
UNKNOWN_SEGMENT = 255  # in masks: unlabeled pixels


class Record(NamedTuple):
    """What is known about one image, without its pixels; unknown values are None."""

    image_id: str  # unique within its set
    # path relative to the set's folder, "<shard>@<offset>+<size>" of a file in a tar, "seed:<n>" or "row:<n>"
    origin: str
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

    @property
    def skipped(self) -> str:
        """What else lies among the images, in words; empty where nothing does."""
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


OpenFile: TypeAlias = Callable[[str], Path | BinaryIO]  # origin -> a picture's file, by its path or open


def number_classes(classes: Sequence[str | None]) -> tuple[list[int | None], tuple[str, ...]]:
    """Return each image's label, its place among the sorted class names, and these names."""
    class_names = tuple(sorted({name for name in classes if name is not None}))
    numbers = {name: number for number, name in enumerate(class_names)}
    return [None if name is None else numbers[name] for name in classes], class_names
