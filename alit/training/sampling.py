"""What a step trains on: the images of its batch, this process's share of them, and their random views."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor

from alit.data.batches import batch_indices
from alit.data.transforms import augment
from alit.errors import ConfigError
from alit.training.randomness import derive_generator, derive_seed


class TrainingImages(Protocol):
    """The part of `alit.data.imageset.ImageSet` that training reads."""

    manifest: pd.DataFrame

    def __len__(self) -> int: ...

    def images(self, indices: Tensor) -> Tensor:
        """Return images (b, 3, h, w) in [0, 1]."""
        ...


class Augmentation(NamedTuple):
    """Random views of the training images."""

    flip: bool
    crop_scale: float  # smallest share of the area that a crop keeps; 1 never crops


class Batch(NamedTuple):
    """One process's share of the images of a step."""

    indices: Tensor  # (b,) int64, rows of the set
    mirrored: Tensor  # (b,) bool
    images: Tensor  # (b, 3, h, w) in [0, 1], mirrored and cropped, on the device


class BatchSampler:
    """The batches of one stage, a function of the step alone: nothing to save, and any process count.

    Crops are the exception: each process draws its own.
    """

    def __init__(
        self,
        images: TrainingImages,
        batch_size: int,
        augmentation: Augmentation,
        *,
        fabric: Fabric,
        seed: int,
        stage: str,
    ) -> None:
        if batch_size % fabric.world_size:
            raise ConfigError(f"batch_size {batch_size} must be a multiple of the {fabric.world_size} processes")
        self.images = images
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.fabric = fabric
        self.seed = derive_seed(seed, stage)
        self._ids = images.manifest["image_id"].to_numpy()

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of the whole batch."""
        return [str(self._ids[index]) for index in self._all_indices(step).tolist()]

    def __call__(self, step: int) -> Batch:
        """Return this process's share of a step's batch."""
        indices = self._share(self._all_indices(step))
        draws = torch.rand(self.batch_size, generator=derive_generator(self.seed, "flip", step))
        mirrored = self._share((draws < 0.5) & self.augmentation.flip)
        views = self.images.images(indices)
        views[mirrored] = views[mirrored].flip(-1)
        if self.augmentation.crop_scale < 1:
            generator = derive_generator(self.seed, "crop", step, self.fabric.global_rank)
            views = augment(views, generator, flip=False, crop_scale=self.augmentation.crop_scale)
        return Batch(indices, mirrored, self.fabric.to_device(views))

    def _all_indices(self, step: int) -> Tensor:
        return batch_indices(step, self.batch_size, len(self.images), self.seed)

    def _share(self, rows: Tensor) -> Tensor:
        return rows.chunk(self.fabric.world_size)[self.fabric.global_rank]
