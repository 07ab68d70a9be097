"""Where latents look: their attention maps, brought to pixels, and how sparse they are (paper, Fig. 8, 9, 13, 16)."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from alit.tokenizer.tokenizer import AdaptiveTokenizer


class LatentMaps(NamedTuple):
    """Where the latents of b images look at one iteration."""

    iteration: int  # 1-based
    maps: Tensor  # (b, k, n)
    features: Tensor  # (b, n, z), what the base tokenizer's encoder says of the same places


def rollout_maps(tokenizer: AdaptiveTokenizer, images: Tensor, layer: int) -> Iterator[LatentMaps]:
    """Yield the maps of images (b, 3, h, w) in [0, 1] at each iteration; see `latent_maps` for the layer."""
    for step in tokenizer.rollout(images, reconstruct=False, attention=True):
        assert step.attention is not None
        yield LatentMaps(step.iteration, latent_maps(step.attention, layer), step.base.features)


def latent_maps(attention: Tensor, layer: int) -> Tensor:
    """Return one map (b, k, n) per latent: the weight with which each image token attends to it.

    Args:
        attention: (layers, b, n, k) weights of the latent decoder, averaged over heads, as `Rollout.attention` is.
            Rows are the queries of the n image tokens, columns the keys of the latents. Published code reads the
            column before, so that its latent 0 is the last mask token.
        layer: from 1; the paper shows the 7th of 8.
    """
    return rearrange(attention[layer - 1], "b n k -> b k n")


def to_pixels(maps: Tensor, size: int) -> Tensor:
    """Upsample maps (b, k, n) of a square grid to (b, k, p) with p = size * size pixels, bilinearly as published."""
    grid = math.isqrt(maps.shape[-1])
    square = rearrange(maps, "b k (h w) -> b k h w", h=grid)
    return rearrange(F.interpolate(square, (size, size), mode="bilinear", align_corners=False), "b k h w -> b k (h w)")


def entropy(maps: Tensor) -> Tensor:
    """Return the entropy (...) of maps (..., n) over their n places as a share of its maximum: 1 is spread evenly."""
    shares = maps / maps.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / math.log(maps.shape[-1])


def gini(maps: Tensor) -> Tensor:
    """Return the Gini index (...) of maps (..., n) without negatives: 0 is spread evenly, (n - 1) / n in one place."""
    places = maps.shape[-1]
    order = 2 * torch.arange(1, places + 1, device=maps.device) - places - 1
    return (maps.sort(-1).values * order).sum(-1) / (places * maps.sum(-1))
