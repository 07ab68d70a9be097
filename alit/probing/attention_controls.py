"""Maps to set beside attention maps: what a score is worth shows against what needs no attention.

Each control gives as many maps as there are latents, because the best of many maps fits a mask by chance alone.
"""

import math
import warnings

import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def shuffled(maps: Tensor) -> Tensor:
    """Give each image the maps (b, k, n) of another one of the batch: habits of the latents, nothing of the image."""
    return maps.roll(1, dims=0)


def random_maps(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return maps of independent uniform numbers in the shape (b, k, n)."""
    return torch.rand(maps.shape, generator=generator).to(maps)


def centred_blobs(maps: Tensor) -> Tensor:
    """Return a Gaussian in the centre of the image for each map (b, k, n), with the map's own covariance."""
    places = grid_places(maps)
    return gaussians(places.mean(0).expand(*maps.shape[:2], 2), covariances(maps, places), places)


def placed_blobs(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return a Gaussian at a random place for each map (b, k, n), with the map's own covariance."""
    places = grid_places(maps)
    centres = torch.rand(*maps.shape[:2], 2, generator=generator).to(maps) * places.max()
    return gaussians(centres, covariances(maps, places), places)


def cluster_maps(features: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` maps (b, k, n) of k-means clusters in each image's own features (b, n, z).

    A map falls with the distance d of a place from the cluster's centre in feature space, as exp(-d^2 / 2 s^2) with s
    the root mean square distance of places from their nearest centre; its highest place is 1. There are no more
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
    centres = torch.einsum("bkn,nx->bkx", shares, places)
    offsets = places - centres[:, :, None]
    spread = torch.einsum("bkn,bknx,bkny->bkxy", shares, offsets, offsets)
    return spread + torch.eye(2, device=maps.device, dtype=maps.dtype) / 12


def gaussians(centres: Tensor, spread: Tensor, places: Tensor) -> Tensor:
    """Return Gaussians (b, k, n) over places (n, 2): 1 at their centres (b, k, 2), with covariances (b, k, 2, 2)."""
    offsets = places - centres[:, :, None]
    distances = torch.einsum("bknx,bkxy,bkny->bkn", offsets, torch.linalg.inv(spread), offsets)
    return torch.exp(-distances / 2)
