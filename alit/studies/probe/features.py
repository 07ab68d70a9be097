"""Pooled features of a frozen tokenizer: everything that a feature point needs, in one pass over the images."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from alit.data.imageset import ImageSet
from alit.data.prepare import ArrayWriter
from alit.models.distillation import TokenizerConfig
from alit.studies.probe import FeaturePoint
from alit.tokenizer.protocol import Tokenizer, device_of, features_of
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.processes import PieceStore, fail_together

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

BASE_GRID = 4  # the base grid control keeps so many cells a side
PIXEL_GRID = 16
RUNS = 16  # the most means that tokens of another tokenizer are put side by side as


class FeatureArrays(NamedTuple):
    """Pooled features of n images, float32; everything that a `FeaturePoint` needs is a mean of these.

    Each iteration t has t blocks of s latents, the block that each earlier iteration and itself appended; block b of
    iteration t (both from 1) stands in column t (t - 1) / 2 + b - 1.
    """

    image: (
        np.ndarray
    )  # (n, T, d), or as many iterations as are computed; mean of the image tokens as the encoder leaves them
    latents: np.ndarray  # (n, blocks, d) mean of a block as the encoder leaves it
    codes: np.ndarray  # (n, blocks, z) mean of a block as the decoder gets it: quantized where latents are
    base: np.ndarray  # (n, cells, z) base features, averaged over the cells of a coarse grid
    pixels: np.ndarray  # (n, values) the image averaged over a coarse grid
    colors: np.ndarray  # (n, 6) mean and standard deviation of each channel


class TokenArrays(NamedTuple):
    """Pooled features of n images by a tokenizer of another kind, float32; lengths t = 1, ..., T have k_t tokens."""

    first: np.ndarray  # (n, T (T + 1) / 2, d) mean of the first k_j tokens at length t, column t (t - 1) / 2 + j - 1
    last: np.ndarray  # (n, T - 1, d) at length T the mean of its last k_j tokens
    runs: np.ndarray  # (n, T, RUNS, d) means of so many runs of tokens; zeros behind the tokens that there are
    counts: np.ndarray  # (n, T) k, the same for all images
    pixels: np.ndarray  # (n, values) as `FeatureArrays` has them
    colors: np.ndarray  # (n, 6)


def compute_features(
    tokenizer: Tokenizer,
    images: ImageSet,
    rows: np.ndarray,
    batch_size: int,
    folder: Path,
    fabric: "Fabric",
    iterations: int | None = None,
) -> FeatureArrays | TokenArrays:
    """Return the features of some images of a set, memory-mapped from `folder`; continues what is there.

    Args:
        tokenizer: frozen, in eval mode; one of another kind has `features`.
        images: the set.
        rows: (n,) numbers of the images.
        batch_size: images at once.
        folder: of these images, weights and this batch size alone; all processes see it.
        fabric: the processes that share the batches.
        iterations: how many are computed; by default all. Of another kind of tokenizer, always all.
    """
    store = PieceStore(folder / "batches")
    batches = np.split(rows, range(batch_size, len(rows), batch_size))
    kind = FeatureArrays if isinstance(tokenizer, AdaptiveTokenizer) else TokenArrays

    def work(number: int) -> Mapping[str, np.ndarray]:
        batch = images.images(batches[number])
        if isinstance(tokenizer, AdaptiveTokenizer):
            return _batch_features(tokenizer, batch, iterations)._asdict()
        return _batch_tokens(tokenizer, batch)._asdict()

    store.fill(fabric, list(map(len, batches)), work, f"features of {images.name}")
    with fail_together(fabric):
        if fabric.is_global_zero:
            _join(store, batches, folder, kind._fields)
    return kind(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in kind._fields))


def _join(store: PieceStore, batches: Sequence[np.ndarray], folder: Path, names: Sequence[str]) -> None:
    """Write the features of all batches as one array for each kind."""
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ArrayWriter(folder / f"{name}.npy")) for name in names}
        for number in range(len(batches)):
            for name, values in store.read(number).items():
                writers[name].extend(values)


def gather(
    arrays: FeatureArrays | TokenArrays, point: FeaturePoint, tokenizer: TokenizerConfig | None = None
) -> np.ndarray:
    """Return the features (n, f) float32 of one point; `tokenizer` are the settings of one of this suite."""
    match point.features:
        case "constant":
            return np.zeros((len(arrays.colors), 1), np.float32)
        case "colors":
            return arrays.colors
        case "pixels":
            return arrays.pixels
    if isinstance(arrays, TokenArrays):
        return _gather_tokens(arrays, point)
    assert tokenizer is not None
    match point.features:
        case "base":
            return arrays.base.mean(axis=1)
        case "base grid":
            return rearrange(arrays.base, "n cells z -> n (cells z)")
    image = arrays.image[:, point.iteration - 1]
    if point.tokens == "image":
        return image
    first = point.iteration * (point.iteration - 1) // 2
    blocks = point.latents // tokenizer.tokens_per_iteration
    source = arrays.latents if point.stage == "encoder" else arrays.codes
    first += (point.iteration - blocks) * (point.tokens == "last latents")
    latents = source[:, first : first + blocks]
    if point.pooling == "concatenated":
        return rearrange(latents, "n blocks d -> n (blocks d)")
    mean = latents.mean(axis=1)
    if point.tokens != "both":
        return mean
    share = point.latents / (point.latents + tokenizer.image_tokens)  # every token counts alike, as published
    return share * mean + (1 - share) * image


def _gather_tokens(arrays: TokenArrays, point: FeaturePoint) -> np.ndarray:
    """Return the features (n, f) float32 of one point of a tokenizer of another kind."""
    if point.pooling == "concatenated":
        means = arrays.runs[:, point.iteration - 1, : min(RUNS, point.latents)]
        return rearrange(means, "n runs d -> n (runs d)")
    place = int(np.flatnonzero(arrays.counts[0] == point.latents)[0])
    if point.tokens == "last latents":
        return arrays.last[:, place]
    return arrays.first[:, point.iteration * (point.iteration - 1) // 2 + place]


@torch.no_grad()
def _batch_features(tokenizer: AdaptiveTokenizer, images: Tensor, iterations: int | None) -> FeatureArrays:
    """Pool the features of images (b, 3, h, w) in the first so many iterations; the latent decoder does not run."""
    images = images.to(next(tokenizer.parameters()).device)
    base_tokens, size = tokenizer.base.encode(images), tokenizer.config.tokens_per_iteration
    image_means, latent_means, code_means = [], [], []
    rollout = tokenizer.distillation.iterate(images, base_tokens, tokenizer.base.codebook, decode=())
    for step in islice(rollout, iterations):
        assert step.image_tokens is not None
        image_means.append(step.image_tokens.mean(dim=1))
        latent_means.append(reduce(step.latents, "b (blocks s) d -> b blocks d", "mean", s=size))
        code_means.append(reduce(step.codes, "b (blocks s) z -> b blocks z", "mean", s=size))
    grid = rearrange(base_tokens.features, "b (h w) z -> b z h w", h=tokenizer.config.grid)
    cells = F.adaptive_avg_pool2d(grid, min(BASE_GRID, tokenizer.config.grid))
    pooled = (
        torch.stack(image_means, dim=1),
        torch.cat(latent_means, dim=1),
        torch.cat(code_means, dim=1),
        rearrange(cells, "b z h w -> b (h w) z"),
        *_of_pixels(images),
    )
    return FeatureArrays(*(values.float().cpu().numpy() for values in pooled))


def _of_pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return a coarse grid of the pixels (b, values), and the mean and deviation of each color (b, 6)."""
    pixels = F.adaptive_avg_pool2d(images, min(PIXEL_GRID, images.shape[-1]))
    colors = torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)
    return rearrange(pixels, "b c h w -> b (c h w)"), colors


@torch.no_grad()
def _batch_tokens(tokenizer: Tokenizer, images: Tensor) -> TokenArrays:
    """Pool the tokens of images (b, 3, h, w) at every length of a tokenizer of another kind."""
    images = images.to(device_of(tokenizer))
    steps = [step.tokens for step in features_of(tokenizer, images)]
    counts = [tokens.shape[1] for tokens in steps]
    first = [tokens[:, :count].mean(dim=1) for tokens in steps for count in counts if count <= tokens.shape[1]]
    last = [steps[-1][:, -count:].mean(dim=1) for count in counts[:-1]]
    runs = [torch.stack([run.mean(dim=1) for run in _runs(tokens)], dim=1) for tokens in steps]
    pooled = (
        torch.stack(first, dim=1),
        torch.stack(last, dim=1) if last else steps[0].new_empty(len(images), 0, steps[0].shape[2]),
        torch.stack([F.pad(run, (0, 0, 0, RUNS - run.shape[1])) for run in runs], dim=1),
        torch.tensor(counts).expand(len(images), -1),
        *_of_pixels(images),
    )
    return TokenArrays(*(values.float().cpu().numpy() for values in pooled))


def _runs(tokens: Tensor) -> tuple[Tensor, ...]:
    """Split tokens (b, k, d) into at most `RUNS` runs whose sizes differ by at most one."""
    return tokens.tensor_split(min(RUNS, tokens.shape[1]), dim=1)
