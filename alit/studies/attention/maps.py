"""Latent attention maps, control maps, and how well maps cover segments."""

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from alit.data.sources import UNKNOWN_SEGMENT
from alit.tokenizer.tokenizer import AdaptiveTokenizer


class LatentMaps(NamedTuple):
    """Where the latents of b images look at one iteration."""

    iteration: int  # 1-based
    maps: Tensor  # (b, k, n)
    features: Tensor  # (b, n, z), of the base encoder at the same places


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


def shuffled(maps: Tensor) -> Tensor:
    """Give each image the maps (b, k, n) of another one of the batch: habits of the latents, nothing of the image."""
    return maps.roll(1, dims=0)


def random_maps(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return maps of independent uniform numbers in the shape (b, k, n)."""
    return torch.rand(maps.shape, generator=generator).to(maps)


def centered_blobs(maps: Tensor) -> Tensor:
    """Return a Gaussian in the center of the image for each map (b, k, n), with the map's own covariance."""
    places = grid_places(maps)
    return gaussians(places.mean(0).expand(*maps.shape[:2], 2), covariances(maps, places), places)


def placed_blobs(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return a Gaussian at a random place for each map (b, k, n), with the map's own covariance."""
    places = grid_places(maps)
    centers = torch.rand(*maps.shape[:2], 2, generator=generator).to(maps) * places.max()
    return gaussians(centers, covariances(maps, places), places)


def cluster_maps(features: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` maps (b, k, n) of k-means clusters in each image's own features (b, n, z).

    A map falls with the distance d of a place from the cluster's center in feature space, as exp(-d^2 / 2 s^2) with s
    the root mean square distance of places from their nearest center; its highest place is 1. There are no more
    clusters than places, and where an image has fewer different features than that, some maps are alike.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    clusters = min(count, features.shape[1])
    maps = []
    for places in features.cpu().numpy().astype(np.float64):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different features than clusters
            distances = KMeans(clusters, random_state=seed).fit_transform(places) ** 2
        spread = max(distances.min(axis=1).mean(), 1e-6 * distances.mean(), 1e-12)
        maps.append(np.exp(-(distances - distances.min(axis=0)) / (2 * spread)))
    return rearrange(torch.from_numpy(np.stack(maps)).to(features), "b n k -> b k n")


def grid_places(maps: Tensor) -> Tensor:
    """Return the row and column (n, 2) of each place of maps (b, k, n) over a square grid."""
    grid = math.isqrt(maps.shape[-1])
    steps = torch.arange(grid, device=maps.device, dtype=maps.dtype)
    return rearrange(torch.stack(torch.meshgrid(steps, steps, indexing="ij")), "two h w -> (h w) two")


def covariances(maps: Tensor, places: Tensor) -> Tensor:
    """Return the covariance (b, k, 2, 2) of each map (b, k, n) over places (n, 2), in grid steps.

    A place is a square with sides of one step, not a point: 1/12 is added to each variance.
    """
    shares = maps / maps.sum(-1, keepdim=True)
    centers = torch.einsum("bkn,nx->bkx", shares, places)
    offsets = places - centers[:, :, None]
    spread = torch.einsum("bkn,bknx,bkny->bkxy", shares, offsets, offsets)
    return spread + torch.eye(2, device=maps.device, dtype=maps.dtype) / 12


def gaussians(centers: Tensor, spread: Tensor, places: Tensor) -> Tensor:
    """Return Gaussians (b, k, n) over places (n, 2): 1 at their centers (b, k, 2), with covariances (b, k, 2, 2)."""
    offsets = places - centers[:, :, None]
    distances = torch.einsum("bknx,bkxy,bkny->bkn", offsets, torch.linalg.inv(spread), offsets)
    return torch.exp(-distances / 2)


class Segments(NamedTuple):
    """The masks of b images over p pixels; images with fewer than q masks have empty ones."""

    masks: Tensor  # (b, q, p) float, 1 inside
    counted: Tensor  # (b, q) bool, masks that are large enough
    known: Tensor  # (b, p) float, 0 where a pixel is unlabeled


def segment_masks(segments: Tensor, smallest: float) -> Segments:
    """Separate the segments of uint8 (b, h, w); masks below `smallest`, a share of the image, do not count.

    0 is background, which is no mask; unknown pixels belong to no mask and to no union.
    """
    pixels = rearrange(segments, "b h w -> b (h w)")
    known = pixels != UNKNOWN_SEGMENT
    most = int(torch.where(known, pixels, 0).max())
    numbers = torch.arange(1, max(most, 1) + 1, device=pixels.device, dtype=pixels.dtype)
    masks = (pixels[:, None] == numbers[:, None]).float()
    areas = masks.sum(-1)
    return Segments(masks, (areas > 0) & (areas >= smallest * pixels.shape[1]), known.float())


class Ranked(NamedTuple):
    """Pixels of maps in descending order; equal values stay in the order of the pixels."""

    ranks: Tensor  # (b, k, p) int64, 0 for the highest pixel of a map
    mass: Tensor  # (b, k, p), the sum of the highest 1, 2, ..., p pixels


def rank_pixels(maps: Tensor) -> Ranked:
    """Sort the pixels of maps (b, k, p)."""
    ordered, order = maps.sort(dim=-1, descending=True, stable=True)
    places = torch.arange(maps.shape[-1], device=maps.device).expand_as(order)
    return Ranked(torch.empty_like(order).scatter_(-1, order, places), ordered.cumsum(-1))


def keep_pixels(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return how many pixels (b, k, s) the highest `shares` (s,) of all p pixels of a map are, at least one."""
    counts = (shares * ranked.ranks.shape[-1]).round().long().clamp_min(1)
    return counts.expand(*ranked.ranks.shape[:2], -1)


def keep_mass(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return the fewest pixels (b, k, s) that hold `shares` (s,) of the sum of a map without negatives."""
    targets = (shares * ranked.mass[..., -1:]).to(ranked.mass)
    return torch.searchsorted(ranked.mass, targets).add(1).clamp_max(ranked.mass.shape[-1])


def jaccard(ranked: Ranked, segments: Segments, counts: Tensor) -> Tensor:
    """Return the Jaccard index (b, k, q, s) of the highest pixels of each of k maps with each of q masks.

    Args:
        ranked: the maps.
        segments: the masks.
        counts: (b, k, s) pixels kept of each map, s choices.
    """
    wanted = torch.cat([segments.masks, segments.known[:, None]], dim=1)
    areas = segments.masks.sum(-1)
    indices = []
    for count in counts.unbind(-1):
        kept = (ranked.ranks < count[..., None]).to(wanted.dtype)
        covered = torch.einsum("bkp,bqp->bkq", kept, wanted)
        both, size = covered[..., :-1], covered[..., -1:]
        indices.append(both / (size + areas[:, None] - both).clamp_min(1))
    return torch.stack(indices, dim=-1)


def mean_best(indices: Tensor, segments: Segments) -> Tensor:
    """Return (b, s): the mean over an image's counted masks of the best Jaccard index (b, k, q, s) of any map.

    An image without a counted mask gets nan.
    """
    counted = segments.counted[..., None].to(indices.dtype)
    return (indices.amax(dim=1) * counted).sum(1) / counted.sum(1)
