"""How well maps cover segments: mIoU of the best map of each segment, by several rules of what a map keeps.

Paper, section 5, Tab. 2.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from alit.data.sources import UNKNOWN_SEGMENT
from alit.studies.attention.measure.maps import to_pixels


class Segments(NamedTuple):
    """The masks of b images over p pixels; images with fewer than q masks have empty ones."""

    labels: Tensor  # (b, p) int32: the number of a pixel's mask, 0 in none, q + 1 where it is unlabeled
    counted: Tensor  # (b, q) bool, masks that are large enough

    @property
    def masks(self) -> Tensor:
        """Return the masks (b, q, p) float, 1 inside."""
        numbers = torch.arange(1, self.counted.shape[1] + 1, device=self.labels.device)
        return (self.labels[:, None] == numbers[:, None]).float()

    @property
    def known(self) -> Tensor:
        """Return (b, p) bool, false where a pixel is unlabeled."""
        return self.labels <= self.counted.shape[1]

    def of(self, image: int) -> "Segments":
        """Return the masks of one image."""
        return Segments(self.labels[image : image + 1], self.counted[image : image + 1])

    def only(self, chosen: Tensor) -> "Segments":
        """Return one mask of each image, its number in `chosen` (b,), from 0."""
        inside = (self.labels == chosen[:, None] + 1).int()
        return Segments(torch.where(self.known, inside, 2).int(), self.counted.gather(1, chosen[:, None]))

    def of_next(self) -> "Segments":
        """Give each image the masks of the one after it in the batch."""
        return Segments(self.labels.roll(-1, dims=0), self.counted.roll(-1, dims=0))


def segment_masks(segments: Tensor, smallest: float) -> Segments:
    """Separate the segments of uint8 (b, h, w); masks below `smallest`, a share of the image, do not count.

    0 is background, which is no mask; pixels of unknown content are in no mask, and no map is judged by them.
    """
    pixels = rearrange(segments, "b h w -> b (h w)").int()
    known = pixels != UNKNOWN_SEGMENT
    most = max(int(torch.where(known, pixels, 0).max()), 1)
    found = Segments(torch.where(known, pixels, most + 1), torch.ones(len(pixels), most, dtype=torch.bool))
    areas = found.masks.sum(-1)
    return found._replace(counted=(areas > 0) & (areas >= smallest * pixels.shape[1]))


class Ranked(NamedTuple):
    """The m known pixels of one image in the descending order of k maps; equal values stay in the order of the pixels.

    Pixels of unknown content are taken out before anything is kept of a map, as is usual where labels are to be
    ignored. A rule then keeps as many known pixels of each map; were unknown ones kept and not counted, a map would
    fit the better the more of it lies on them.
    """

    order: Tensor  # (k, m) int64, the number of the highest pixel of a map first
    mass: Tensor  # (k, m), the sum of the highest 1, 2, ..., m known pixels


def rank_pixels(maps: Tensor, known: Tensor, order: Tensor | None = None) -> Ranked:
    """Sort the known pixels of maps (k, p) without negatives.

    Args:
        maps: of one image.
        known: (p,) bool. Where no pixel is known there is no mask either, and all are sorted.
        order: of all pixels, where it is known already.
    """
    order = descending_order(maps) if order is None else order
    if known.any() and not known.all():
        order = rearrange(order[known[order]], "(k m) -> k m", k=len(maps))
    return Ranked(order, maps.gather(-1, order).cumsum(-1))


def descending_order(values: Tensor) -> Tensor:
    """Return the order (..., p) of values (..., p) of 0 or more from the highest, equal ones as they come."""
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return torch.sort(values, dim=-1, descending=True, stable=True).indices
    # The bits of such floats are in their order, and numpy sorts 16 of them by counting: a fifth of the time.
    bits = ~np.ascontiguousarray(values.flatten(0, -2).numpy()).view(np.uint32)
    orders = np.empty(bits.shape, np.int64)
    for row, order in zip(bits, orders, strict=True):
        by_low = np.argsort((row & 0xFFFF).astype(np.uint16), kind="stable")
        order[:] = by_low[np.argsort((row >> 16).astype(np.uint16)[by_low], kind="stable")]
    return torch.from_numpy(orders).view(values.shape)


def keep_pixels(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return how many pixels (k, s) the highest `shares` (s,) of the m known pixels of a map are, at least one."""
    counts = (shares * ranked.order.shape[-1]).round().long().clamp_min(1)
    return counts.expand(len(ranked.order), -1)


def keep_mass(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return the fewest known pixels (k, s) that hold `shares` (s,) of the sum of a map without negatives."""
    targets = (shares * ranked.mass[..., -1:]).to(ranked.mass)
    return torch.searchsorted(ranked.mass, targets).add(1).clamp_max(ranked.mass.shape[-1])


def jaccard(ranked: Ranked, segments: Segments, counts: Tensor) -> Tensor:
    """Return the Jaccard index (k, q, s) of the highest pixels of each of k maps with each of q masks of one image.

    All choices of a map cut its order at some ranks: how many pixels of each mask lie between two cuts is counted
    once, and summed up.

    Args:
        ranked: the maps.
        segments: the masks of the image.
        counts: (k, s) known pixels kept of each map, s choices.
    """
    (maps, pixels), masks, choices = ranked.order.shape, segments.counted.shape[1], counts.shape[-1]
    labels = segments.labels[0][ranked.order]
    ascending, places = counts.sort(-1)
    cuts = torch.zeros(maps, pixels + 1, dtype=torch.int32, device=labels.device)
    cuts.scatter_add_(-1, ascending, torch.ones_like(ascending, dtype=torch.int32))
    between = cuts.cumsum(-1, dtype=torch.int32)[:, :-1]  # which cuts a pixel lies between
    first = torch.arange(maps, dtype=torch.int32, device=labels.device)[:, None]
    bins = (first * (choices + 1) + between) * (masks + 2) + labels
    amounts = torch.bincount(bins.flatten(), minlength=maps * (choices + 1) * (masks + 2))
    kept = amounts.view(maps, choices + 1, masks + 2).cumsum(1)[:, :-1]
    covered = torch.empty_like(kept).scatter_(1, places[..., None].expand_as(kept), kept)
    both = rearrange(covered[..., 1 : masks + 1], "k s q -> k q s")
    areas = segments.masks[0].sum(-1).long()[:, None]
    return (both / (counts[:, None] + areas - both).clamp_min(1)).float()


def mean_best(indices: Tensor, segments: Segments) -> Tensor:
    """Return (b, s): the mean over an image's counted masks of the best Jaccard index (b, k, q, s) of any map.

    An image without a counted mask gets nan.
    """
    counted = segments.counted[..., None].to(indices.dtype)
    return (indices.amax(dim=1) * counted).sum(1) / counted.sum(1)


# Shares of the pixels that are tried for the best threshold of an image; masks are small more often than large.
BEST_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


BLOCK = 2**22  # pixels of maps that are sorted at once


def fit_maps(maps: Tensor, masks: Sequence[Segments], shares: Sequence[float]) -> list[Tensor]:
    """Return the Jaccard indices (b, k, q, s) of maps (b, k, n) with each of several `masks` of as many images.

    The pixels of each map are sorted once, whatever they are compared with. The s choices are `shares` of the known
    pixels, `BEST_SHARES` of them, and `shares` of the mass.
    """
    pixels = masks[0].labels.shape[1]
    kept = torch.tensor([*shares, *BEST_SHARES], device=maps.device, dtype=torch.float64)
    indices: list[list[Tensor]] = [[] for _ in masks]
    for image in range(len(maps)):
        for block in maps[image : image + 1].split(max(1, BLOCK // pixels), dim=1):
            values = to_pixels(block, math.isqrt(pixels))[0]
            order = descending_order(values)
            for found, segments in zip(indices, masks, strict=True):
                of = segments.of(image)
                ranked = rank_pixels(values, of.known[0], order)
                counts = torch.cat([keep_pixels(ranked, kept), keep_mass(ranked, kept[: len(shares)])], dim=-1)
                found.append(jaccard(ranked, of, counts))
    return [rearrange(torch.cat(found), "(b k) q s -> b k q s", b=len(maps)) for found in indices]


class Scores(NamedTuple):
    """The mean overlap of b images with each way to cut a segment out of a map: `shares` of the pixels, as many pixels
    as fit the image's masks best, `shares` of the mass.
    """

    share: Tensor  # (b, rules) of the pixels or of the mass
    miou: Tensor  # (b, rules)


def rule_scores(scores: Tensor, shares: Sequence[float]) -> Scores:
    """Choose the best share of each image among `BEST_SHARES`; `scores` (b, s) are of the choices of `fit_maps`."""
    by_pixels, by_tried, by_mass = scores.split([len(shares), len(BEST_SHARES), len(shares)], dim=-1)
    best = by_tried.max(dim=-1, keepdim=True)
    fixed = torch.tensor(shares, device=scores.device, dtype=torch.float64).expand(len(scores), -1)
    tried = torch.tensor(BEST_SHARES, device=scores.device, dtype=torch.float64)[best.indices]
    return Scores(torch.cat([fixed, tried, fixed], dim=1), torch.cat([by_pixels, best.values, by_mass], dim=1))
