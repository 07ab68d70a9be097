"""Spending a budget of tokens over a set of images so that their total loss is lowest.

Each image has a loss curve over the same lengths. Where curves are convex, taking the steepest descents first is
optimal; elsewhere it is done on each curve's lower convex hull, whose corners are the lengths that can be chosen.
"""

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
    return allocate_budgets(losses, lengths, [budget])[:, 0]


def allocate_budgets(
    losses: NDArray[np.floating], lengths: Sequence[int], budgets: Sequence[float]
) -> NDArray[np.int64]:
    """Choose a length for each image under each of several budgets; (images, budgets), see `allocate_budget`."""
    counts = np.asarray(lengths, dtype=np.int64)
    images, shortest = len(losses), int(counts[0])
    if not np.isfinite(losses).all():
        raise DataError("expected finite losses to allocate by, found NaN or infinity")
    if min(budgets) < shortest * images:
        raise DataError(
            f"a budget of {min(budgets):g} tokens does not cover {images} images at the shortest length {shortest}; "
            f"raise the mean length to at least {shortest}"
        )
    corners = lower_hulls(counts, losses)
    costs = np.diff(counts[corners], axis=1)
    falls = np.diff(np.take_along_axis(losses, corners, axis=1), axis=1)
    slopes = np.divide(falls, costs, out=np.zeros(falls.shape), where=costs > 0)
    slopes = np.maximum.accumulate(slopes, axis=1)  # rounding must not put a segment before the one that leads to it
    image, segment = np.nonzero(costs)
    order = np.lexsort((segment, image, slopes[image, segment]))
    image, cost = image[order], costs[image, segment][order]
    spent = np.cumsum(cost)
    chosen = np.empty((images, len(budgets)), dtype=np.int64)
    for place, budget in enumerate(budgets):
        extra = budget - float(shortest) * images
        first = int(np.searchsorted(spent, extra, side="right"))  # segments before it fit
        left = extra - (float(spent[first - 1]) if first else 0.0)
        bought = np.concatenate([image[:first], _that_still_fit(image[first:], cost[first:], left)])
        corner = np.bincount(bought, minlength=images)
        chosen[:, place] = corners[np.arange(images), corner]
    return chosen


def _that_still_fit(image: NDArray[np.int64], cost: NDArray[np.int64], left: float) -> NDArray[np.int64]:
    """Return the images of the segments that are bought with what is left; one passed over ends its image."""
    cheapest = int(cost.min()) if len(cost) else 0
    passed: set[int] = set()
    bought: list[int] = []
    for place in range(len(cost)):
        if left < cheapest:
            break
        each = int(image[place])
        if each in passed:
            continue
        if cost[place] > left:
            passed.add(each)
        else:
            left -= float(cost[place])
            bought.append(each)
    return np.array(bought, dtype=np.int64)


def lower_hulls(lengths: NDArray[np.int64], losses: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the corners of every curve's lower convex hull from its first point to its (first) lowest.

    Between them a hull descends progressively more slowly; lengths that do not lower the loss are never on it.

    Args:
        lengths: (l,) ascending token counts.
        losses: (images, l).

    Returns:
        (images, l) indices into `lengths`, ascending, the last corner repeated.
    """
    images, last = np.arange(len(losses)), len(lengths) - 1
    corners = np.zeros(losses.shape, dtype=np.int64)
    here = np.zeros(len(losses), dtype=np.int64)
    for place in range(1, len(lengths)):
        ahead = lengths - lengths[here][:, None]  # image length
        falls = losses - losses[images, here][:, None]
        slopes = np.divide(falls, ahead, out=np.full(losses.shape, np.inf), where=ahead > 0)
        steepest = last - np.argmin(slopes[:, ::-1], axis=1)  # the last of equals: a point on the line is no corner
        here = np.where(slopes[images, steepest] < 0, steepest, here)
        corners[:, place] = here
    return corners
