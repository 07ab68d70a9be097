"""Maps of where latents look, controls with as many maps, and how sparse maps are.

Paper, section 5, Fig. 8, 9, 13 and 16; docs/studies/attention.md describes the controls.
"""

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from alit.errors import ConfigError
from alit.tokenizer.protocol import Tokenizer, attention_of


class LatentMaps(NamedTuple):
    """Where the latents of b images look at one iteration, in each of l layers of the latent decoder."""

    iteration: int  # 1-based
    layers: Tensor  # (l, b, k, n), as `AttentionStep.layers`
    layer: int  # the one whose maps are compared with masks, from 1; the paper shows the 7th of 8
    features: Tensor  # (b, n, z), of the base encoder at the same places

    @property
    def maps(self) -> Tensor:
        """Return the maps (b, k, n) that are compared with masks."""
        return self.layers[self.layer - 1]


def rollout_maps(tokenizer: Tokenizer, images: Tensor, layer: int) -> Iterator[LatentMaps]:
    """Yield the maps of images (b, 3, h, w) in [0, 1] at each iteration; `layer` as in `LatentMaps`.

    An iteration is one of the tokenizer's lengths.

    Raises:
        ConfigError: the tokenizer has no such layer.
    """
    for iteration, found in enumerate(attention_of(tokenizer, images), start=1):
        if layer > len(found.layers):
            raise ConfigError(f"attention.layer: expected one of {len(found.layers)}, found {layer}")
        yield LatentMaps(iteration, found.layers, layer, found.features)


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
    """Return `count` maps (b, k, n) of regions in each image's own features (b, n, z), by k-means.

    The regions are those of k-means with 2, 3, 4, ... clusters, from coarse to fine, as many as it takes: one k-means
    with `count` clusters would leave a single place to each where there are as many places. A cluster has at least
    `PLACES_A_CLUSTER` places in the mean; where more maps are wanted than that gives, the numbers begin again with
    another seed. Fewer maps are the first of more.

    A map falls with the distance d of a place from the cluster's center in feature space, as exp(-d^2 / 2 s^2) with s
    the root mean square distance of places from their nearest center; its highest place is 1. Where an image has fewer
    different features than clusters, some maps are alike.
    """
    fits = cluster_numbers(count, most=max(2, features.shape[1] // PLACES_A_CLUSTER))
    images = []
    for places in features.cpu().numpy().astype(np.float64):
        maps = [_regions(places, clusters, seed + turn) for turn, clusters in fits]
        images.append(np.concatenate(maps, axis=1)[:, :count])
    return rearrange(torch.from_numpy(np.stack(images)).to(features), "b n k -> b k n")


PLACES_A_CLUSTER = 4


def cluster_numbers(count: int, most: int) -> list[tuple[int, int]]:
    """Return (turn, number of clusters) of the fits that give `count` maps: 2, 3, ..., `most` clusters, then again."""
    fits: list[tuple[int, int]] = []
    while sum(clusters for _, clusters in fits) < count:
        turn, above = divmod(len(fits), most - 1)
        fits.append((turn, 2 + above))
    return fits


def _regions(places: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the maps (n, k) of one k-means over the features (n, z) of one image."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different features than clusters
        distances = KMeans(clusters, random_state=seed).fit_transform(places) ** 2
    spread = max(distances.min(axis=1).mean(), 1e-6 * distances.mean(), 1e-12)
    return np.exp(-(distances - distances.min(axis=0)) / (2 * spread))


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
