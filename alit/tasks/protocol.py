"""What a task offers to the sweep: columns of scores per image, and the record of what made them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor


class SweepBatch(NamedTuple):
    """Untouched images of one image set with what is known about them."""

    images: Tensor  # (b, 3, h, w) float32 in [0, 1]
    labels: Tensor  # (b,) int64 index into class_names, -1 where unknown
    class_names: tuple[str, ...]
    depth: Tensor | None = None  # (b, h, w) float32 in metres, 0 where unknown; None for sets without depth
    captions: Sequence[str | None] | None = None  # None where there is none, or for sets without any
    inverse_depth: Tensor | None = None  # (b, h, w) float32, larger is nearer, of unknown scale; not finite: unknown


class Task(Protocol):
    """Scores images against the originals they were rebuilt from, each image by itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sweep table that `score` fills."""
        ...

    @property
    def record(self) -> Mapping[str, Any]:
        """What made the numbers (network, weight hash, sizes); JSON values, written beside the table."""
        ...

    def reference(self, batch: SweepBatch) -> Any:
        """Compute once per batch what every length is compared with."""
        ...

    def score(self, images: Tensor, reference: Any, batch: SweepBatch) -> dict[str, np.ndarray]:
        """Score images (b, 3, h, w) in [0, 1]: one float array (b,) per column, NaN where not measurable."""
        ...


class FeatureExtractor(Protocol):
    """Describes images by vectors, for Frechet distances between sets of images."""

    @property
    def name(self) -> str:
        """Suffix of the feature file."""
        ...

    @property
    def size(self) -> int:
        """Numbers per image."""
        ...

    @property
    def record(self) -> Mapping[str, Any]:
        """What made the features; JSON values, written beside the table."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Return (b, size) float32 features of images (b, 3, h, w) in [0, 1]."""
        ...
