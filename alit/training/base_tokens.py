"""Base tokens of the training images: computed afresh, or once per run where the images never change."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.lib.format import open_memmap
from torch import Tensor
from tqdm import tqdm

from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.distillation import TokenizerConfig
from alit.training.sampling import Augmentation, Batch, TrainingImages

CACHE_LIMIT = 8 * 2**30  # bytes on disk beyond which tokens are computed afresh
CHUNK = 64  # images encoded at a time

TokenSource = Callable[[Batch], BaseTokens]


def token_source(
    base: BaseTokenizer,
    config: TokenizerConfig,
    images: TrainingImages,
    augmentation: Augmentation,
    *,
    fabric: Fabric,
    folder: Path,
    limit: int = CACHE_LIMIT,
) -> TokenSource:
    """Return where stage 1 takes base tokens from: a cache in `folder` where one can be had, else the network.

    A cache needs views that repeat (mirrored ones are kept as a second copy, random crops rule it out), tokens
    that repeat (a VAE's posterior samples do not), and space. It holds float32: tokens are those of the network.
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
    """Return tokens as targets: what a continuous base decodes are the features themselves."""
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
    images: TrainingImages,
    copies: int,
    fabric: Fabric,
    folder: Path,
) -> None:
    """Write the arrays beside `folder` and move them there when they are complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shape = (copies, len(images), config.image_tokens)
    features = _new_array(partial / "features.npy", np.float32, (*shape, config.base.code_size))
    ids = None if base.codebook is None else _new_array(partial / "ids.npy", np.int32, shape)
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


def _new_array(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    return open_memmap(path, mode="w+", dtype=kind, shape=shape)
