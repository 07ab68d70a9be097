"""Bootstrap of Fréchet distances without an eigendecomposition per resample.

A resample holds fewer different images, so its covariances have lower rank and its distance lies above the value that
it is meant to surround: by 5 to 40 % with as many images as features, far more than the spread. The distance is
therefore linearised: each image's influence is the derivative of the distance with respect to its weight (the
infinitesimal jackknife of Efron and Stein), and a resample moves the distance by its mean influence. That is centred
on the value, costs one decomposition per selection, and pairs with every other bootstrap of the same images. With no
more images than features the intervals are somewhat too narrow, by a fifth to a third in simulations.
"""

from typing import NamedTuple

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.curves import Resampling
from alit.analysis.frechet import BLOCK, FeatureStatistics, features_to_statistics
from alit.analysis.grid import ScoreGrid
from alit.errors import DataError

RANK_TOLERANCE = 1e-8  # eigenvalues below this share of the largest count as none


class Influence(NamedTuple):
    """A distance and how much each of n images moves it, mean 0."""

    value: float
    effects: np.ndarray  # (n,)


class Root(NamedTuple):
    """Eigenvectors (f, k) and roots of eigenvalues (k,) of a covariance of rank k."""

    vectors: np.ndarray
    scales: np.ndarray


def sample_frechet(features: np.ndarray, grid: ScoreGrid, positions: np.ndarray, how: Resampling) -> np.ndarray:
    """Return (1 + r, t) distances of t selections, positions (n, t), from the untouched images, value first.

    Images are drawn with replacement as everywhere, original and reconstruction together.

    Raises:
        DataError: the table has no rows of length 0 to compare with.
    """
    if grid.clean_rows is None:
        raise DataError("expected rows of length 0 in the sweep table, the reference of Fréchet distances, found none")
    reference = features_to_statistics(features, grid.clean_rows)
    root = covariance_root(reference.covariance)
    every = np.arange(len(grid))
    parts = [
        frechet_influence(features, grid.clean_rows, grid.rows[every, column], reference, root)
        for column in positions.T
    ]
    moves = resampled_means(np.stack([part.effects for part in parts], axis=1), how.resamples, how.seed)
    return np.array([part.value for part in parts]) + moves


def frechet_influence(
    features: np.ndarray, originals: np.ndarray, others: np.ndarray, reference: FeatureStatistics, root: Root
) -> Influence:
    """Return the distance of rows `others` (n,) from rows `originals` (n,) and each pair's influence on it.

    With S1 = R R^T the reference's covariance and M = R^T S2 R, the distance changes with S2 by I - A and with S1 by
    I - A^-1, where A = R M^(-1/2) R^T maps S2 onto S1.
    """
    statistics = features_to_statistics(features, others)
    half = root.vectors * root.scales  # R
    values, vectors = np.linalg.eigh(half.T @ statistics.covariance @ half)
    roots = np.sqrt(values.clip(min=0))
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=values > RANK_TOLERANCE * values.max())
    forward, backward = half @ vectors, (root.vectors / root.scales) @ vectors
    gap = reference.mean - statistics.mean
    effects = np.empty(len(originals))
    for start in range(0, len(originals), BLOCK):
        block = slice(start, start + BLOCK)
        first = features[originals[block]].astype(np.float64) - reference.mean
        second = features[others[block]].astype(np.float64) - statistics.mean
        means = 2 * (first - second) @ gap
        one = (first**2).sum(axis=1) - (first @ backward) ** 2 @ roots
        two = (second**2).sum(axis=1) - (second @ forward) ** 2 @ inverse
        effects[block] = means + one + two
    spread = np.trace(reference.covariance) + np.trace(statistics.covariance) - 2 * roots.sum()
    return Influence(float(max(gap @ gap + spread, 0.0)), effects - effects.mean())


def covariance_root(covariance: np.ndarray) -> Root:
    """Decompose a covariance (f, f), leaving out directions without spread."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > RANK_TOLERANCE * values.max()
    return Root(vectors[:, kept], np.sqrt(values[kept]))
