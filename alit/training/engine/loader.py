"""The data of a training step: its images, their random views, and their base tokens."""

import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.lib.format import open_memmap
from torch import Tensor
from tqdm import tqdm

from alit.data.crops import CROP_ASPECT, DRAWS, RandomCrop
from alit.data.images import to_images
from alit.data.imageset import ImageSet
from alit.data.prepare import DataConfig
from alit.errors import ConfigError
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.distillation import BatchRows, TokenizerConfig
from alit.training.engine.fabric import derive_generator, derive_seed
from alit.training.engine.processes import fail_together
from alit.training.engine.views import ViewLoader, ViewRequest

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


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
    crop_aspect: tuple[float, float] = CROP_ASPECT  # least and greatest width over height of a crop

    @classmethod
    def of(cls, data: DataConfig) -> "Augmentation":
        """Return the views that a profile's settings of data ask for."""
        return cls(data.flip, data.crop_scale, data.crop_aspect)


class Batch(NamedTuple):
    """One process's share of the images of a step."""

    indices: (
        Tensor  # (b,) int64, rows of the set: of each image that is in the batch, also where it stands in for another
    )
    mirrored: Tensor  # (b,) bool
    images: Tensor  # (b, 3, h, w) in [0, 1], mirrored and cropped, on the device

    def part(self, rows: BatchRows) -> "Batch":
        """Return some of the images."""
        return Batch(*map(rows.of, self))


class BatchOrder(NamedTuple):
    """Which images each step shows, and which of them this process takes."""

    seed: int
    batch_size: int  # of all processes together
    length: int  # of the set
    process: int
    processes: int

    def indices(self, step: int) -> Tensor:
        """Return the rows of the whole batch."""
        return batch_indices(step, self.batch_size, self.length, self.seed)

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's share of the rows of a batch."""
        return rows.chunk(self.processes)[self.process]


def view_requests(order: BatchOrder, augmentation: Augmentation, step: int) -> list[ViewRequest]:
    """Return what this process's share of a batch shows; crops are drawn by seed, step and place in the batch."""
    rows = order.share(order.indices(step)).tolist()
    scale, aspect = augmentation.crop_scale, augmentation.crop_aspect
    if scale == 1:
        return [ViewRequest(row, None) for row in rows]
    generator = derive_generator(order.seed, "crop", step)
    draws = order.share(torch.rand(order.batch_size, DRAWS, generator=generator, dtype=torch.float64)).numpy()
    return [ViewRequest(row, RandomCrop(scale, aspect, draw)) for row, draw in zip(rows, draws, strict=True)]


def _mirror(images: Tensor, mirrored: Tensor, axis: int) -> Tensor:
    """Mirror some of the images (b, ...) along the axis of their width."""
    return torch.where(rearrange(mirrored, "b -> b 1 1 1").to(images.device), images.flip(axis), images)


class BatchSampler:
    """The batches of one stage, a function of the step alone: nothing is saved, and any number of processes fits.

    So it does with any number of worker processes, which decode the coming batches ahead of time. Arrays without crops
    have nothing to decode and are read as they are needed.

    Raises:
        ConfigError: the processes cannot share `batch_size`.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        augmentation: Augmentation,
        *,
        fabric: "Fabric",
        seed: int,
        stage: str,
        workers: int = 0,
    ) -> None:
        if batch_size % fabric.world_size:
            raise ConfigError(f"batch_size {batch_size} must be a multiple of the {fabric.world_size} processes")
        self.images = images
        self.flip = augmentation.flip
        self.fabric = fabric
        self.seed = derive_seed(seed, stage)
        self.order = BatchOrder(self.seed, batch_size, len(images), fabric.global_rank, fabric.world_size)
        self._ids = images.manifest["image_id"].to_numpy()
        self._views: ViewLoader | None = None
        if not images.packed or augmentation.crop_scale < 1:
            requests = partial(view_requests, self.order, augmentation)
            pin_memory = fabric.device.type == "cuda"
            self._views = ViewLoader(images, requests, workers=workers, pin_memory=pin_memory)

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of the whole batch."""
        return [str(self._ids[index]) for index in self.order.indices(step).tolist()]

    def __call__(self, step: int) -> Batch:
        """Return this process's share of a step's batch.

        Raises:
            DataError: more images could not be read, or more workers ended, than the set allows.
        """
        draws = torch.rand(self.order.batch_size, generator=derive_generator(self.seed, "flip", step))
        mirrored = self.order.share((draws < 0.5) & self.flip)
        if self._views is None:
            indices = self.order.share(self.order.indices(step))
            return Batch(indices, mirrored, _mirror(self.fabric.to_device(self.images.images(indices)), mirrored, -1))
        indices, pixels = self._views(step)
        return Batch(indices, mirrored, to_images(_mirror(self.fabric.to_device(pixels), mirrored, -2)))


CACHE_LIMIT = 8 * 2**30  # bytes on disk; tokens of larger sets are computed at each step
CHUNK = 64  # images encoded at a time

TokenSource = Callable[[Batch], BaseTokens]


def token_source(
    base: BaseTokenizer,
    config: TokenizerConfig,
    images: ImageSet,
    augmentation: Augmentation,
    *,
    fabric: "Fabric",
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
    sampled = base.codebook is None and config.base.sample_posterior
    if augmentation.crop_scale < 1 or sampled or size > limit:
        return lambda batch: _encode_now(base, batch.images, fabric)
    with fail_together(fabric):
        if fabric.is_global_zero and not folder.is_dir():
            _build_cache(base, config, images, copies, fabric, folder)
    return CachedTokens(folder, base, fabric)


def _encode_now(base: BaseTokenizer, images: Tensor, fabric: "Fabric") -> BaseTokens:
    """Return tokens of images (b, 3, h, w); on a GPU computed in the training's precision, as published."""
    if fabric.device.type != "cuda":  # what a CPU has trained must come out the same again
        return encode_frozen(base, images)
    with fabric.autocast():
        tokens = encode_frozen(base, images)
    return BaseTokens(tokens.features.float(), tokens.codes.float(), tokens.ids, tokens.loss.float())


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

    def __init__(self, folder: Path, base: BaseTokenizer, fabric: "Fabric") -> None:
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
    fabric: "Fabric",
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
