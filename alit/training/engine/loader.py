"""The data of a training step: its images, their random views, and their base tokens."""

import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from lightning_fabric import Fabric
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.errors import ConfigError
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.distillation import TokenizerConfig
from alit.training.engine.fabric import derive_generator, derive_seed


def batch_indices(step: int, batch_size: int, length: int, seed: int) -> Tensor:
    """Return the int64 indices (batch_size,) of the images of one step.

    Each epoch is a fresh permutation that visits an image at most once: every image when `batch_size` divides
    `length`, else all but the remainder, which differs by epoch. A batch larger than the set takes whole
    permutations one after another. Every process computes the same global batch and takes its share of it.
    """
    if length < 1 or batch_size < 1:
        raise ValueError(f"expected at least one image and a positive batch size, got {length} and {batch_size}")
    batches = length // batch_size
    if batches:
        epoch, batch = divmod(step, batches)
        return _permutation(seed, epoch, length)[batch * batch_size : (batch + 1) * batch_size].clone()
    first, start = divmod(step * batch_size, length)
    epochs = range(first, first + (start + batch_size - 1) // length + 1)
    stream = torch.cat([_permutation(seed, epoch, length) for epoch in epochs])
    return stream[start : start + batch_size].clone()


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, length: int) -> Tensor:
    """Return the order of one epoch; kept, since successive steps slice the same one."""
    mixed = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(mixed) % 2**63)
    return torch.randperm(length, generator=generator)


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
    """The batches of one stage, a function of the step alone: nothing is saved, and any number of processes fits.

    Crops are the exception: they also depend on the process.
    """

    def __init__(
        self,
        images: ImageSet,
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


def augment(images: Tensor, generator: torch.Generator, *, flip: bool, crop_scale: float) -> Tensor:
    """Return random views of images (b, 3, h, w) in [0, 1], in the same shape and range.

    Each view is a square crop of `crop_scale` to 1 of the image's area, resized back, and mirrored half of
    the time when `flip`. The result depends on `images` and on the state of `generator` (a CPU one) alone.
    Deviation: the published training also varies the crop's aspect ratio between 3/4 and 4/3.
    """
    batch = images.shape[0]
    draws = torch.rand(4, batch, generator=generator)
    mirrored = (draws[3] < 0.5) & flip
    if crop_scale == 1:
        return torch.where(rearrange(mirrored.to(images.device), "b -> b 1 1 1"), images.flip(-1), images)
    side = (crop_scale + (1 - crop_scale) * draws[0]).sqrt()
    shift = (1 - side) * (2 * draws[1:3] - 1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = torch.where(mirrored, -side, side)
    theta[:, 1, 1] = side
    theta[:, :, 2] = shift.T
    grid = functional.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    views = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return views.clamp(0, 1)


CACHE_LIMIT = 8 * 2**30  # bytes on disk; tokens of larger sets are computed at each step
CHUNK = 64  # images encoded at a time

TokenSource = Callable[[Batch], BaseTokens]


def token_source(
    base: BaseTokenizer,
    config: TokenizerConfig,
    images: ImageSet,
    augmentation: Augmentation,
    *,
    fabric: Fabric,
    folder: Path,
    limit: int = CACHE_LIMIT,
) -> TokenSource:
    """Return the source of stage 1's base tokens: a cache in `folder` where possible, else the network.

    A cache needs views that repeat (mirrored ones are kept as a second copy, random crops rule it out), tokens that
    repeat (a VAE's posterior samples do not), and at most `limit` bytes. It holds the network's tokens in float32.
    """
    copies = 2 if augmentation.flip else 1
    numbers = config.base.code_size + (0 if base.codebook is None else 1)
    size = copies * len(images) * config.image_tokens * numbers * 4
    sampled = config.base.kind == "vae" and config.base.sample_posterior
    if augmentation.crop_scale < 1 or sampled or size > limit:
        return lambda batch: encode_frozen(base, batch.images)
    if fabric.is_global_zero and not folder.is_dir():
        _build_cache(base, config, images, copies, fabric, folder)
    fabric.barrier()
    return CachedTokens(folder, base, fabric)


@torch.no_grad()
def encode_frozen(base: BaseTokenizer, images: Tensor) -> BaseTokens:
    """Return the tokens of images (b, 3, h, w); codes are the codebook's vectors to the last bit."""
    tokens = base.encode(images)
    return frozen_tokens(tokens.features, tokens.ids, base.codebook)


def frozen_tokens(features: Tensor, ids: Tensor | None, codebook: Tensor | None) -> BaseTokens:
    """Return tokens as targets: codes are rows of the codebook (v, z), or the features of a continuous base."""
    codes = features if ids is None or codebook is None else codebook[ids]
    return BaseTokens(features, codes, ids, features.new_zeros(()))


class CachedTokens:
    """Reads tokens by image and mirroring from memory-mapped arrays."""

    def __init__(self, folder: Path, base: BaseTokenizer, fabric: Fabric) -> None:
        self.fabric = fabric
        self.codebook = None if base.codebook is None else base.codebook.detach()
        self.features = np.load(folder / "features.npy", mmap_mode="r")
        self.ids = None if base.codebook is None else np.load(folder / "ids.npy", mmap_mode="r")

    def __call__(self, batch: Batch) -> BaseTokens:
        """Return the tokens of a batch."""
        rows = (batch.mirrored.numpy().astype(np.int64), batch.indices.numpy())
        features = self._tensor(self.features[rows])
        ids = None if self.ids is None else self._tensor(self.ids[rows]).long()
        return frozen_tokens(features, ids, self.codebook)

    def _tensor(self, rows: np.ndarray) -> Tensor:
        return self.fabric.to_device(torch.from_numpy(rows))


def _build_cache(
    base: BaseTokenizer,
    config: TokenizerConfig,
    images: ImageSet,
    copies: int,
    fabric: Fabric,
    folder: Path,
) -> None:
    """Write the arrays beside `folder` and move them there when they are complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shape = (copies, len(images), config.image_tokens)
    values = (*shape, config.base.code_size)
    features = open_memmap(partial / "features.npy", mode="w+", dtype=np.float32, shape=values)
    ids = None if base.codebook is None else open_memmap(partial / "ids.npy", mode="w+", dtype=np.int32, shape=shape)
    chunks = range(math.ceil(len(images) / CHUNK))
    for chunk in tqdm(chunks, desc="base tokens", unit="batch", mininterval=5):
        rows = torch.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, len(images)))
        views = fabric.to_device(images.images(rows))
        for copy in range(copies):
            with fabric.autocast():
                tokens = encode_frozen(base, views.flip(-1) if copy else views)
            features[copy, rows.numpy()] = tokens.features.float().cpu().numpy()
            if ids is not None and tokens.ids is not None:
                ids[copy, rows.numpy()] = tokens.ids.cpu().numpy()
    features.flush()
    if ids is not None:
        ids.flush()
    os.replace(partial, folder)
