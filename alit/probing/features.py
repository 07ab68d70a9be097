"""Features of many images at every feature point at once: computed a batch at a time, kept on disk, resumed."""

from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor
from tqdm import tqdm

from alit.models.distillation import TokenizerConfig
from alit.probing.points import FeaturePoint
from alit.tokenizer.tokenizer import AdaptiveTokenizer

BASE_GRID = 4  # the base grid control keeps so many cells a side
PIXEL_GRID = 16
SAVE_EVERY = 16  # batches
PROGRESS_FILE = "rows.txt"


class ProbedSet(Protocol):
    """The part of an image set that is read."""

    name: str

    def __len__(self) -> int: ...

    def images(self, indices: np.ndarray) -> Tensor:
        """Return float32 images (b, 3, h, w) in [0, 1]."""
        ...


class FeatureArrays(NamedTuple):
    """Pooled features of n images, float32; everything that a `FeaturePoint` needs is a mean of these.

    Each iteration t has t blocks of s latents, the block that each earlier iteration and itself appended; block b of
    iteration t (both from 1) stands in column t (t - 1) / 2 + b - 1.
    """

    image: np.ndarray  # (n, T, d) mean of the image tokens as the encoder leaves them
    latents: np.ndarray  # (n, blocks, d) mean of a block as the encoder leaves it
    codes: np.ndarray  # (n, blocks, z) mean of a block as the decoder gets it: quantised where latents are
    base: np.ndarray  # (n, cells, z) base features, averaged over the cells of a coarse grid
    pixels: np.ndarray  # (n, values) the image averaged over a coarse grid
    colours: np.ndarray  # (n, 6) mean and standard deviation of each channel


def compute_features(
    tokenizer: AdaptiveTokenizer, images: ProbedSet, rows: np.ndarray, batch_size: int, folder: Path
) -> FeatureArrays:
    """Return the features of some images of a set, memory-mapped from `folder`; continues what is there.

    Args:
        tokenizer: frozen, in eval mode.
        images: the set.
        rows: (n,) numbers of the images.
        batch_size: images at once.
        folder: of these images and weights alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished = _finished(folder)
    example = _batch_features(tokenizer, images.images(rows[:1]))
    arrays = FeatureArrays(
        *(
            np.lib.format.open_memmap(
                folder / f"{name}.npy",
                mode="r+" if finished else "w+",
                **({} if finished else {"dtype": np.float32, "shape": (len(rows), *value.shape[1:])}),
            )
            for name, value in example._asdict().items()
        )
    )
    starts = range(finished, len(rows), batch_size)
    with tqdm(total=len(rows), initial=finished, desc=f"features of {images.name}", unit="image") as bar:
        for number, start in enumerate(starts, start=1):
            part = slice(start, min(start + batch_size, len(rows)))
            for array, values in zip(arrays, _batch_features(tokenizer, images.images(rows[part])), strict=True):
                array[part] = values
            bar.update(part.stop - start)
            if number % SAVE_EVERY == 0 or number == len(starts):
                for mapped in arrays:
                    cast(np.memmap, mapped).flush()
                (folder / PROGRESS_FILE).write_text(str(part.stop))
    return arrays


def gather(arrays: FeatureArrays, point: FeaturePoint, tokenizer: TokenizerConfig) -> np.ndarray:
    """Return the features (n, f) float32 of one point."""
    match point.features:
        case "constant":
            return np.zeros((len(arrays.image), 1), np.float32)
        case "colours":
            return arrays.colours
        case "pixels":
            return arrays.pixels
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
    latents = source[:, first : first + blocks]
    if point.pooling == "concatenated":
        return rearrange(latents, "n blocks d -> n (blocks d)")
    mean = latents.mean(axis=1)
    if point.tokens == "latents":
        return mean
    share = point.latents / (point.latents + tokenizer.image_tokens)  # every token counts alike, as published
    return share * mean + (1 - share) * image


@torch.no_grad()
def _batch_features(tokenizer: AdaptiveTokenizer, images: Tensor) -> FeatureArrays:
    """Pool the features of images (b, 3, h, w); the latent decoder does not run."""
    images = images.to(next(tokenizer.parameters()).device)
    base_tokens, size = tokenizer.base.encode(images), tokenizer.config.tokens_per_iteration
    image_means, latent_means, code_means = [], [], []
    for step in tokenizer.distillation.iterate(images, base_tokens, tokenizer.base.codebook, decode=()):
        assert step.image_tokens is not None
        image_means.append(step.image_tokens.mean(dim=1))
        latent_means.append(reduce(step.latents, "b (blocks s) d -> b blocks d", "mean", s=size))
        code_means.append(reduce(step.codes, "b (blocks s) z -> b blocks z", "mean", s=size))
    grid = rearrange(base_tokens.features, "b (h w) z -> b z h w", h=tokenizer.config.grid)
    cells = F.adaptive_avg_pool2d(grid, min(BASE_GRID, tokenizer.config.grid))
    pixels = F.adaptive_avg_pool2d(images, min(PIXEL_GRID, tokenizer.image_size))
    colours = torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)
    pooled = (
        torch.stack(image_means, dim=1),
        torch.cat(latent_means, dim=1),
        torch.cat(code_means, dim=1),
        rearrange(cells, "b z h w -> b (h w) z"),
        rearrange(pixels, "b c h w -> b (c h w)"),
        colours,
    )
    return FeatureArrays(*(values.float().cpu().numpy() for values in pooled))


def _finished(folder: Path) -> int:
    """Return how many images an earlier run has finished."""
    path = folder / PROGRESS_FILE
    return int(path.read_text()) if path.is_file() else 0
