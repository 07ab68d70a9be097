"""What a task offers to the sweep, and what happens to an image before a task sees it."""

import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class SweepBatch(NamedTuple):
    """Untouched images of one image set with what is known about them."""

    images: Tensor  # (b, 3, h, w) float32 in [0, 1]
    labels: Tensor  # (b,) int64 index into class_names, -1 where unknown
    class_names: tuple[str, ...]
    depth: Tensor | None = None  # (b, h, w) float32 in meters, 0 where unknown; None for sets without depth
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


RESIZE = "bilinear, antialiased"
QUANTISATION = "clip to [0, 1], times 255, round half to even"

R = TypeVar("R")


def round_to_8_bit(images: Tensor) -> Tensor:
    """Give images (b, 3, h, w) the values that an 8-bit file of them would hold, in [0, 1].

    Halves round to even. The published evaluation truncates instead, which darkens every reconstruction by
    half a level on average (published-code facts, section 4).
    """
    return (images.clamp(0, 1) * 255).round() / 255


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images (b, 3, h, w) to (b, 3, size, size), bilinear and antialiased; no copy where they fit."""
    if images.shape[-2:] == (size, size):
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


class Normalize(nn.Module):
    """Shift and scale the channels of images (b, 3, h, w) in [0, 1]; carries no learned state."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)  # c 1 1
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (images - mean) / std."""
        return (images - self.mean) / self.std


class MemoizeLast(Generic[R]):
    """Remembers what `function` returned for the last tensor object it was given.

    Several tasks read one network (rank, features, perceptual distance); the sweep hands all of them the same
    tensor, so the network runs once. Nothing may write into a tensor between two such calls.
    """

    def __init__(self, function: Callable[[Tensor], R]) -> None:
        self._function = function
        self._last: tuple[weakref.ref[Tensor], R] | None = None

    def __call__(self, images: Tensor) -> R:
        """Return the remembered result for the same object, else compute it."""
        if self._last is None or self._last[0]() is not images:
            self._last = (weakref.ref(images), self._function(images))
        return self._last[1]


def weights_sha256(network: nn.Module) -> str:
    """Hash the names, types, shapes and bytes of a network's weights; the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
