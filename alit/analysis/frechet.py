"""Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017).

Called by the extractor's name everywhere: it is FID only on the reference Inception network. With fewer images than
features the covariances are rank-deficient and the distance is biased upwards: compare only distances of equally
many images.
"""

from typing import NamedTuple

import numpy as np

from alit.analysis.grid import ScoreGrid
from alit.analysis.selection import Selection
from alit.errors import DataError

BLOCK = 4096  # feature rows in memory at a time


class FeatureStatistics(NamedTuple):
    """Mean (f,) and covariance (f, f) of features."""

    mean: np.ndarray
    covariance: np.ndarray


def features_to_statistics(features: np.ndarray, rows: np.ndarray | None = None) -> FeatureStatistics:
    """Return mean and unbiased covariance of features (n, f), block by block so that they may be memory-mapped.

    Args:
        features: (n, f), any float type; sums are in float64.
        rows: which rows to take; None takes all.

    Raises:
        DataError: fewer than two rows, or a value that is not finite.
    """
    rows = np.arange(len(features)) if rows is None else rows
    if len(rows) < 2:
        raise DataError(f"expected at least 2 feature rows for a covariance, found {len(rows)}; use more images")
    blocks = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
    size = features.shape[1]
    mean, scatter = np.zeros(size), np.zeros((size, size))
    for block in blocks:
        mean += features[rows[block]].sum(axis=0, dtype=np.float64)
    mean /= len(rows)
    for block in blocks:
        centred = np.asarray(features[rows[block]], dtype=np.float64) - mean
        scatter += centred.T @ centred
    if not np.isfinite(scatter).all():
        raise DataError("expected finite features, found nan or infinity; run the sweep stage again")
    return FeatureStatistics(mean, scatter / (len(rows) - 1))


def statistics_to_distance(reference: FeatureStatistics, other: FeatureStatistics) -> float:
    """Return |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0.

    The trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric,
    so that singular covariances (fewer images than features) need no special case.
    """
    values, vectors = np.linalg.eigh(reference.covariance)
    half = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(half @ other.covariance @ half).clip(min=0)).sum()
    gap = reference.mean - other.mean
    distance = gap @ gap + np.trace(reference.covariance) + np.trace(other.covariance) - 2 * cross
    return float(max(distance, 0.0))


def frechet_distance(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the distance between two feature arrays (n, f) and (m, f)."""
    return statistics_to_distance(features_to_statistics(reference), features_to_statistics(other))


def frechet_of_selection(features: np.ndarray, grid: ScoreGrid, selection: Selection) -> float:
    """Return the distance of a selection's reconstructions from the untouched images, both of the included ones.

    Args:
        features: (table rows, f), row-aligned with the table that `grid` was folded from.
        grid: the images.
        selection: lengths of the same images.

    Raises:
        DataError: the table has no rows of length 0 to compare with.
    """
    if grid.clean_rows is None:
        raise DataError("expected rows of length 0 in the sweep table, the reference of Fréchet distances, found none")
    chosen = np.flatnonzero(selection.included)
    reference = features_to_statistics(features, grid.clean_rows[chosen])
    other = features_to_statistics(features, grid.rows[chosen, selection.positions[chosen]])
    return statistics_to_distance(reference, other)
