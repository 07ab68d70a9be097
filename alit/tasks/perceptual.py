"""Perceptual distance as a task: how far apart an image and its original are in a network's feature maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from alit.models.losses import perceptual_distance
from alit.tasks.protocol import SweepBatch


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
