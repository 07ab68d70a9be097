"""Spending a budget of tokens over a set of images so that their total loss is lowest.

Each image has a loss curve over the same lengths. Where curves are convex, taking the steepest descents first is
optimal; elsewhere it is done on each curve's lower convex hull, whose corners are the lengths that can be chosen.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alit.errors import DataError


def allocate_budget(losses: NDArray[np.floating], lengths: Sequence[int], budget: float) -> NDArray[np.int64]:
    """Choose a length for each image.

    Args:
        losses: (images, lengths), the loss of each image at each length; finite.
        lengths: ascending token counts.
        budget: most tokens in total; at least the shortest length for every image.

    Returns:
        (images,) index into `lengths` of each image. The steepest hull segments are bought first; one that no longer
        fits is passed over for the next that does, so at most one hull segment's worth of budget stays unspent while
        cheaper descents remain.

    Raises:
        DataError: a loss is not finite, or the budget does not cover the shortest length of every image.
    """
    counts = np.asarray(lengths, dtype=np.int64)
    if not np.isfinite(losses).all():
        raise DataError("expected finite losses to allocate by, found NaN or infinity")
    if budget < counts[0] * len(losses):
        raise DataError(
            f"a budget of {budget:g} tokens does not cover {len(losses)} images at the shortest length {counts[0]}; "
            f"raise the mean length to at least {counts[0]}"
        )
    hulls = [lower_hull(counts, curve) for curve in losses]
    corner = np.zeros(len(losses), dtype=np.int64)
    remaining = budget - float(counts[0]) * len(losses)
    heap = [(_slope(counts, losses[i], hull, 0), i) for i, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(heap)
    while heap:
        _, image = heapq.heappop(heap)
        hull, here = hulls[image], corner[image]
        cost = counts[hull[here + 1]] - counts[hull[here]]
        if cost > remaining:
            continue
        remaining -= float(cost)
        corner[image] += 1
        if here + 2 < len(hull):
            heapq.heappush(heap, (_slope(counts, losses[image], hull, here + 1), image))
    return np.array([hull[c] for hull, c in zip(hulls, corner, strict=True)], dtype=np.int64)


def lower_hull(lengths: NDArray[np.int64], curve: NDArray[np.floating]) -> list[int]:
    """Return the indices of a curve's lower convex hull from its first point to its (first) lowest.

    Between them the hull descends progressively more slowly; lengths that do not lower the loss are never on it.
    """
    hull: list[int] = []
    for point in range(int(np.argmin(curve)) + 1):
        while len(hull) > 1 and _is_above(lengths, curve, hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _is_above(lengths: NDArray[np.int64], curve: NDArray[np.floating], left: int, middle: int, right: int) -> bool:
    """Return whether the middle point lies on or above the line from left to right."""
    rise = (curve[right] - curve[left]) * (lengths[middle] - lengths[left])
    return bool((curve[middle] - curve[left]) * (lengths[right] - lengths[left]) >= rise)


def _slope(lengths: NDArray[np.int64], curve: NDArray[np.floating], hull: list[int], corner: int) -> float:
    here, there = hull[corner], hull[corner + 1]
    return float((curve[there] - curve[here]) / (lengths[there] - lengths[here]))
