"""How well maps cover segments: for each mask the best map by Jaccard index (paper, section 5 and Tab. 2).

The paper follows DINO (Caron et al., 2021): what is kept of an attention map is a segmentation, each mask is answered
by the map that fits it best, and the mean runs over the masks of an image, then over images.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from alit.data.sources.source import UNKNOWN_SEGMENT


class Segments(NamedTuple):
    """The masks of b images over p pixels; images with fewer than q masks have empty ones."""

    masks: Tensor  # (b, q, p) float, 1 inside
    counted: Tensor  # (b, q) bool, masks that are large enough
    known: Tensor  # (b, p) float, 0 where nobody knows what a pixel shows


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
