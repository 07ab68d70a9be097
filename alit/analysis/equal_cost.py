"""Ways of choosing lengths, compared at exactly the same mean cost over a set of images.

A way of choosing lengths is a family of allocations, one per threshold or budget, and hardly any of them costs just
what another's does. Between two neighbors of a family every mean cost can be had: each image gets the length of the
dearer one by a chance, of the cheaper one else. Scores below are expectations over that chance.

In a resample of the images a fixed threshold costs more or less than it does over all of them. It is compared with the
same length for all at what it costs there: the mean score of the latter is moved along its own curve, by the difference
of costs times the slope of mean score by mean cost. Each side of a comparison is then one number per image whatever the
resample, exact on the images themselves and right to first order in a resample (delta method). The threshold itself is
not moved to a wanted cost: the share of images that keep a promise has a kink just there, since a stricter threshold
keeps it for no more of them.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from alit.analysis.bootstrap import resampled_counts
from alit.analysis.selection import Allocation, BootstrapConfig
from alit.errors import DataError

WINDOW = 1 / 16  # of the range of costs, to either side: how far a slope looks
DEVIATIONS = 10  # of a resampled tail's weight, which bound how much of a tail must be looked at


class Mixture(NamedTuple):
    """For each of n images one of two lengths, the second by a chance that is the same for all."""

    lower: np.ndarray  # (n,) index into the lengths
    upper: np.ndarray  # (n,)
    chance: float  # of the upper one, 0 to 1

    def expected(self, scores: np.ndarray) -> np.ndarray:
        """Return (n,) expectations of scores (n, l)."""
        images = np.arange(len(scores))
        return (1 - self.chance) * scores[images, self.lower] + self.chance * scores[images, self.upper]


class CostedAllocation:
    """A family of allocations with what each costs, cheapest first."""

    def __init__(self, allocation: Allocation, costs: np.ndarray) -> None:
        """Take an allocation of n images and what each length costs each of them, (n, l), ascending in l."""
        self.name, self.label, self.costs = allocation.name, allocation.label, costs
        spent = np.take_along_axis(costs, allocation.positions, axis=1).mean(axis=0)
        order = np.argsort(spent, kind="stable")
        self.spent = spent[order]  # (t,) mean cost per image
        self.thresholds = allocation.thresholds[order]
        self._positions, self._order = allocation.positions, order

    def at(self, cost: float) -> "EqualCost":
        """Return the lengths that cost so much per image.

        A family that ends below, because more tokens bring nothing, is taken at its end and costs less.

        Raises:
            DataError: the cheapest allocation of the family costs more.
        """
        if cost < self.spent[0] * (1 - 1e-9):
            raise DataError(f"expected a cost of at least {self.spent[0]:g} for {self.label}, found {cost:g}")
        step = WINDOW * float((self.costs[:, -1] - self.costs[:, 0]).mean())
        bound = cost <= self.spent[-1]
        here = self._mixture(cost)
        around = (self._mixture(cost - step), self._mixture(cost + step)) if bound else (here, here)
        return EqualCost(here, *around, self.costs)

    def loosest_threshold(self, cost: float) -> float:
        """Return the threshold of the cheaper of the two allocations that `at` mixes."""
        return float(self.thresholds[self._neighbors(cost)[0]])

    def _neighbors(self, cost: float) -> tuple[int, int]:
        upper = min(int(np.searchsorted(self.spent, cost)), len(self.spent) - 1)
        return max(upper - 1, 0), upper

    def _mixture(self, cost: float) -> Mixture:
        lower, upper = self._neighbors(cost)
        width = self.spent[upper] - self.spent[lower]
        chance = float(np.clip((cost - self.spent[lower]) / width, 0, 1)) if width > 0 else 0.0
        return Mixture(
            self._positions[:, self._order[lower]].astype(np.int64),
            self._positions[:, self._order[upper]].astype(np.int64),
            chance,
        )


class EqualCost(NamedTuple):
    """Lengths that cost a given mean, and those that cost a little less and a little more."""

    here: Mixture
    cheaper: Mixture
    dearer: Mixture
    costs: np.ndarray  # (n, l)

    def expected(self, scores: np.ndarray) -> np.ndarray:
        """Return (n,) expectations of scores (n, l)."""
        return self.here.expected(scores)

    @property
    def excess(self) -> np.ndarray:
        """(n,) how much more than the mean each image costs."""
        spent = self.expected(self.costs)
        return spent - spent.mean()

    def at_cost_of(self, other: "EqualCost", scores: np.ndarray) -> np.ndarray:
        """Return (n,) numbers whose mean over any resample is the mean score at what the other costs there.

        Args:
            other: lengths of the same mean cost over all images, more or less in a resample.
            scores: (n, l), or an indicator of them; the share of images that satisfy something is a mean, too.
        """
        slope = self._slope(*(float(each.expected(scores).mean()) for each in (self.cheaper, self.dearer)))
        return self.expected(scores) + slope * (other.excess - self.excess)

    def _slope(self, cheaper: float, dearer: float) -> float:
        width = float(self.dearer.expected(self.costs).mean() - self.cheaper.expected(self.costs).mean())
        return (dearer - cheaper) / width if width > 0 else 0.0

    def upper_quantile(self, scores: np.ndarray, level: float) -> float:
        """Return the value that at most a share of 1 - level of the images lies above."""
        return float(_tail(self.here, scores, level).quantiles(np.ones((1, len(scores))), level)[0])

    def quantile_slope(self, scores: np.ndarray, level: float) -> float:
        """Return how an upper quantile moves with the mean cost."""
        ends = (self._replace(here=each).upper_quantile(scores, level) for each in (self.cheaper, self.dearer))
        return self._slope(*ends)


class _Tail(NamedTuple):
    """The largest values of a mixture, descending: whose they are, and by which chance."""

    images: np.ndarray
    weights: np.ndarray
    values: np.ndarray

    def quantiles(self, counts: np.ndarray, level: float) -> np.ndarray:
        """Return (r,) quantiles of images drawn `counts` (r, n) times."""
        above = np.cumsum(counts[:, self.images] * self.weights, axis=1)
        limit = (1 - level) * counts.shape[1] * (1 + 1e-9)
        return self.values[np.argmax(above > limit, axis=1)]


def _tail(mixture: Mixture, scores: np.ndarray, level: float) -> _Tail:
    images = np.arange(len(scores))
    values = np.concatenate([scores[images, mixture.lower], scores[images, mixture.upper]])
    weights = np.concatenate([np.full(len(images), 1 - mixture.chance), np.full(len(images), mixture.chance)])
    order = np.argsort(-values, kind="stable")
    order = order[weights[order] > 0]
    share = (1 - level) + DEVIATIONS * np.sqrt(level * (1 - level) / len(images))
    kept = order[: int(np.searchsorted(np.cumsum(weights[order]), share * len(images))) + 1]
    return _Tail(kept % len(images), weights[kept], values[kept])


class Quantiles(NamedTuple):
    """Samples of an upper quantile under k ways of choosing lengths, the numbers on the images themselves first."""

    values: np.ndarray  # (1 + r, k)
    excess: np.ndarray  # (1 + r, k) what each costs beyond its mean over all images


def sample_upper_quantiles(
    chosen: Sequence[EqualCost], scores: np.ndarray, level: float, bootstrap: BootstrapConfig
) -> Quantiles:
    """Bootstrap upper quantiles of scores (n, l), in the resamples of `resampled_means`."""
    tails = [_tail(each.here, scores, level) for each in chosen]
    excess = np.stack([each.excess for each in chosen], axis=1)  # image choice
    values, spent = [], []
    drawn = resampled_counts(len(scores), bootstrap.resamples, bootstrap.seed)  # chunks that need not all be kept
    for counts in chain([np.ones((1, len(scores)))], drawn):
        values.append(np.stack([tail.quantiles(counts, level) for tail in tails], axis=1))
        spent.append(counts @ excess / len(scores))
    return Quantiles(np.concatenate(values), np.concatenate(spent))


def cost_of(curve: np.ndarray, costs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return (1 + r,) the least cost at which a curve that runs from the cheapest to the dearest reaches a value.

    A value that is never reached takes the dearest; one that the cheapest has already, the cheapest.

    Args:
        curve: (1 + r, l) values, the larger the better.
        costs: (1 + r, l) ascending.
        wanted: (1 + r,).
    """
    best = np.maximum.accumulate(curve, axis=1)
    reached = best >= wanted[:, None]
    after = np.where(reached.any(axis=1), np.argmax(reached, axis=1), curve.shape[1] - 1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(curve))
    rise = best[rows, after] - best[rows, before]
    share = np.divide(wanted - best[rows, before], rise, out=np.ones(len(curve)), where=rise > 0)
    share = np.where(after == 0, 1.0, np.clip(share, 0, 1))
    return costs[rows, before] + share * (costs[rows, after] - costs[rows, before])
