"""Rank correlations over bootstrap resamples of images: Spearman's, plain and partial, and Kendall's for lengths.

A resample is how often each image was drawn. Values are sorted once: the rank of a value in a resample is a running sum
of counts in that order, which costs far less than sorting each resample.
"""

from collections.abc import Sequence

import numpy as np

from alit.analysis.bootstrap import Influence, draw_counts, resampled
from alit.analysis.selection import BootstrapConfig


def spearman_samples(first: np.ndarray, values: np.ndarray, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r, k) rank correlations of `first` (n,) with each column of `values` (n, k), over resamples.

    Ties have their mean rank; the correlation is 0 where one side is constant.
    """
    orders = [SortedValues(column) for column in (first, *values.T)]

    def correlate(indices: np.ndarray) -> np.ndarray:
        counts = _counts_by_image(indices)
        ranks = orders[0].centered_ranks(counts)
        weighted = counts * ranks
        spread = np.einsum("nr,nr->r", weighted, ranks)
        found = np.empty((len(indices), values.shape[1]))
        for column, order in enumerate(orders[1:]):
            other = order.centered_ranks(counts)
            scale = np.sqrt(spread * np.einsum("nr,nr,nr->r", counts, other, other))
            products = np.einsum("nr,nr->r", weighted, other)
            found[:, column] = np.divide(products, scale, out=np.zeros_like(scale), where=scale > 0)
        return found

    return resampled(correlate, len(first), bootstrap.resamples, bootstrap.seed)


def partial_spearman_samples(
    first: np.ndarray, values: np.ndarray, given: Sequence[np.ndarray], bootstrap: BootstrapConfig
) -> np.ndarray:
    """Return (1 + r, k) rank correlations of `first` (n,) with the columns of `values` (n, k), `given` (n,) held fixed.

    The correlation of what linear regressions of both ranks on the given ranks leave over (Conover 1999). 0 where
    nothing is left over: a constant side, or one that the given ones determine. Nothing given leaves Spearman's.
    """
    orders = [SortedValues(column) for column in (*given, first, *values.T)]

    def correlate(indices: np.ndarray) -> np.ndarray:
        counts = _counts_by_image(indices)
        ranks = [order.centered_ranks(counts) for order in orders]
        moments = np.empty((len(indices), len(ranks), len(ranks)))
        for row, one in enumerate(ranks):
            weighted = counts * one
            for column in range(row, len(ranks)):
                moments[:, row, column] = moments[:, column, row] = np.einsum("nr,nr->r", weighted, ranks[column])
        return _partial_correlations(moments, len(given))

    return resampled(correlate, len(first), bootstrap.resamples, bootstrap.seed)


def _partial_correlations(moments: np.ndarray, held: int) -> np.ndarray:
    """Return (r, k) correlations of variable `held` with those after it, the ones before it held fixed.

    Args:
        moments: (r, v, v) sums of products of centered variables: the given ones, the first, and k others.
        held: number of given variables.
    """
    total = np.einsum("rvv->rv", moments).copy()
    left = moments.copy()
    for number in range(held):  # Gauss: take each given variable out of all after it
        pivot = left[:, number, number]
        kept = pivot > 1e-9 * total[:, number]
        shares = np.divide(left[:, number], pivot[:, None], out=np.zeros_like(total), where=kept[:, None])
        left -= shares[:, :, None] * left[:, None, number]
    rest = np.einsum("rvv->rv", left)[:, held:]
    rest = np.where(rest > 1e-9 * total[:, held:], rest, 0)
    spread = np.sqrt(rest[:, :1] * rest[:, 1:])
    return np.divide(left[:, held, held + 1 :], spread, out=np.zeros_like(spread), where=spread > 0)


def kendall_influence(values: np.ndarray, lengths: np.ndarray) -> Influence:
    """Return Kendall's tau-b (Kendall 1945) of values (n,) and lengths (n,) of few kinds, and each image's influence.

    The need of an image that no length satisfies is censored: larger than all that were met, nobody knows by how much.
    Spearman's correlation gives such images one rank, as if their needs were the same. Tau counts pairs: two of them
    have no order and count neither for nor against, one of them and any other image do. Tau-b is relative to pairs that
    each side orders. 0 where one side is constant.

    Effects are the first-order change of a ratio of means over pairs.
    """
    n = len(values)
    agreement = np.zeros(n)
    categories = np.unique(lengths)
    for place, category in enumerate(categories):
        among = np.sort(values[lengths == category])
        below, not_above = (np.searchsorted(among, values, side=side) for side in ("left", "right"))
        higher = below - (len(among) - not_above)  # of this category: those whose value is lower minus those higher
        agreement += np.sign(np.searchsorted(categories, lengths) - place) * higher
    untied = [(n - counts[group]) for group, counts in map(_groups, (values, lengths))]
    agreement, first, second = (part / (n - 1) for part in (agreement, *untied))
    scale = np.sqrt(first.mean() * second.mean())
    if scale == 0:
        return Influence(0.0, np.zeros(n))
    tau = agreement.mean() / scale
    ties = first / first.mean() + second / second.mean() - 2
    return Influence(float(tau), 2 * (agreement - agreement.mean()) / scale - tau * ties)


def _groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the group (n,) of equal values that each belongs to, and the sizes of the groups."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return group, counts


class SortedValues:
    """The order of n values, with which images that are drawn several times are ranked."""

    def __init__(self, values: np.ndarray) -> None:
        """Sort values (n,)."""
        unique, self._group = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._group, kind="stable")
        self._ends = np.cumsum(np.bincount(self._group, minlength=len(unique))) - 1  # (g,) last place of each value

    def centered_ranks(self, counts: np.ndarray) -> np.ndarray:
        """Return (n, r) mean ranks of all images among the drawn, `counts` (n, r), minus the ranks' mean."""
        drawn = np.cumsum(counts[self._order], axis=0)[self._ends]  # (g, r) drawn up to each value, itself included
        before = np.concatenate([np.zeros_like(drawn[:1]), drawn[:-1]])
        # The mean rank of a value is (before + 1 + drawn) / 2, and that of all of them (n + 1) / 2.
        return ((before + drawn - len(counts)) / 2)[self._group]


def _counts_by_image(indices: np.ndarray) -> np.ndarray:
    """Return (n, r) float64 counts of drawn `indices` (r, n); resamples lie together: all steps run along them."""
    return np.ascontiguousarray(draw_counts(indices).T, dtype=np.float64)
