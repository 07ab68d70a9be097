"""What happens to an image before a task looks at it, the same for every task."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

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


class Normalise(nn.Module):
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


class LastCall(Generic[R]):
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
