"""The protocols of tasks and feature extractors, and the preparation of images that all of them share."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class SweepBatch(NamedTuple):
    """Untouched images of one image set, with labels, depth and captions where they are known."""

    images: Tensor  # (b, 3, h, w) float32 in [0, 1]
    labels: Tensor  # (b,) int64 index into class_names, -1 where unknown
    class_names: tuple[str, ...]
    depth: Tensor | None = None  # (b, h, w) float32 in meters, 0 where unknown; None for sets without depth
    captions: Sequence[str | None] | None = None  # None where there is none, or for sets without any
    inverse_depth: Tensor | None = None  # (b, h, w) float32, larger is nearer, of unknown scale; not finite: unknown


class Task(Protocol):
    """Scores reconstructions against their originals, each image by itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sweep table that `score` fills."""
        ...

    @property
    def record(self) -> Mapping[str, Any]:
        """Provenance of the scores (network, weight hash, sizes) as JSON values, written to config.json."""
        ...

    def reference(self, batch: SweepBatch) -> Any:
        """Return what the reconstructions of a batch at every length are compared with; computed once per batch."""
        ...

    def score(self, images: Tensor, reference: Any, batch: SweepBatch) -> dict[str, np.ndarray]:
        """Score images (b, 3, h, w) in [0, 1]: one float array (b,) per column, NaN where not measurable."""
        ...


class FeatureExtractor(Protocol):
    """Maps images to feature vectors, for Fréchet distances between sets of images."""

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
        """Provenance of the features as JSON values, written to config.json."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Return (b, size) float32 features of images (b, 3, h, w) in [0, 1]."""
        ...


RESIZE = "bilinear, antialiased"
ROUNDING = "clip to [0, 1], times 255, round half to even"

R = TypeVar("R")


def round_to_8_bit(images: Tensor) -> Tensor:
    """Round images (b, 3, h, w) to the values of an 8-bit file, in [0, 1].

    Halves round to even. The published evaluation truncates instead, which darkens every reconstruction by
    half a level on average (docs/paper-or-code.md).
    """
    return (images.clamp(0, 1) * 255).round() / 255


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images (b, 3, h, w) to (b, 3, size, size), bilinear and antialiased; no copy at that size."""
    if images.shape[-2:] == (size, size):
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


class Normalize(nn.Module):
    """Shift and scale the channels of images (b, 3, h, w) in [0, 1]; holds no learned state."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)  # c 1 1
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (images - mean) / std."""
        return (images - self.mean) / self.std


def memoize_last(function: Callable[[Tensor], R]) -> Callable[[Tensor], R]:
    """Return `function`, with its result remembered for the last tensor object that it was called with.

    Several tasks use one network (rank, features, perceptual distance). The sweep passes the same tensor to all of
    them, so that the network runs once. Nothing may write into a tensor between two such calls.
    """
    last: tuple[weakref.ref[Tensor], R] | None = None

    def memoized(images: Tensor) -> R:
        nonlocal last
        if last is None or last[0]() is not images:
            last = (weakref.ref(images), function(images))
        return last[1]

    return memoized
