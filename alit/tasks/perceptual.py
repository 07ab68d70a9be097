"""Perceptual distance: how far apart two images are in a network's feature maps (as LPIPS, on any trunk)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alit.tasks.protocol import SweepBatch


def perceptual_distance(
    maps: Sequence[Tensor], others: Sequence[Tensor], channel_weights: Sequence[Tensor] | None = None
) -> Tensor:
    """Return (b,) distances between two lists of feature maps (b, c, h, w), one pair per layer.

    Each position's channel vector is scaled to unit length; squared differences are summed over channels
    (weighted by `channel_weights`, (c,) per layer, where a trunk has learned some), averaged over space,
    summed over layers. With LPIPS's trunk and weights this is LPIPS; on any other trunk it is not, and must
    not be called so.
    """
    distances = []
    for layer, (a, b) in enumerate(zip(maps, others, strict=True)):
        squared = (_unit_channels(a) - _unit_channels(b)).square()  # b c h w
        if channel_weights is not None:
            squared = squared * channel_weights[layer][:, None, None]
        distances.append(squared.sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(distances).sum(dim=0)


def _unit_channels(maps: Tensor) -> Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()


class PerceptualTask:
    """Column perceptual_<name>: the distance between image and original in the maps of one network."""

    def __init__(
        self,
        name: str,
        maps: Callable[[Tensor], Sequence[Tensor]],
        record: Mapping[str, Any],
        channel_weights: Sequence[Tensor] | None = None,
    ) -> None:
        self.columns = (f"perceptual_{name}",)
        self.record = record
        self._maps = maps
        self._channel_weights = channel_weights

    def reference(self, batch: SweepBatch) -> Sequence[Tensor]:
        """Return the maps of the originals."""
        return self._maps(batch.images)

    def score(self, images: Tensor, reference: Sequence[Tensor], batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return the distance of each image (b, 3, h, w) in [0, 1]; zero for the original."""
        distance = perceptual_distance(self._maps(images), reference, self._channel_weights)
        return {self.columns[0]: distance.float().cpu().numpy()}
