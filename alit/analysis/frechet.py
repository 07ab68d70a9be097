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


def features_to_statistics(
    features: np.ndarray, rows: np.ndarray | None = None, counts: np.ndarray | None = None
) -> FeatureStatistics:
    """Return mean and unbiased covariance of features (n, f), block by block so that they may be memory-mapped.

    Args:
        features: (n, f), any float type; sums are in float64.
        rows: which rows to take; None takes all.
        counts: how often each taken row was drawn, for a bootstrap; None counts each once.

    Raises:
        DataError: fewer than two rows, or a value that is not finite.
    """
    rows = np.arange(len(features)) if rows is None else rows
    weights = np.ones(len(rows)) if counts is None else np.asarray(counts, dtype=np.float64)
    total = weights.sum()
    if total < 2:
        raise DataError(f"expected at least 2 feature rows for a covariance, found {int(total)}; use more images")
    blocks = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
    size = features.shape[1]
    mean, scatter = np.zeros(size), np.zeros((size, size))
    for block in blocks:
        mean += weights[block] @ np.asarray(features[rows[block]], dtype=np.float64)
    mean /= total
    for block in blocks:
        centred = np.asarray(features[rows[block]], dtype=np.float64) - mean
        scatter += centred.T @ (centred * weights[block, None])
    if not np.isfinite(scatter).all():
        raise DataError("expected finite features, found nan or infinity; run the sweep stage again")
    return FeatureStatistics(mean, scatter / (total - 1))


def matrix_root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of a covariance (f, f)."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def statistics_to_distance(
    reference: FeatureStatistics, other: FeatureStatistics, root: np.ndarray | None = None
) -> float:
    """Return |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0.

    `root`, the square root of the reference's covariance, may be passed when many sets meet one reference. The trace
    of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric, so that
    singular covariances (fewer images than features) need no special case.
    """
    root = matrix_root(reference.covariance) if root is None else root
    product = root @ other.covariance @ root
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    gap = reference.mean - other.mean
    distance = gap @ gap + np.trace(reference.covariance) + np.trace(other.covariance) - 2 * cross
    return float(max(distance, 0.0))


def frechet_distance(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the distance between two feature arrays (n, f) and (m, f)."""
    return statistics_to_distance(features_to_statistics(reference), features_to_statistics(other))


def frechet_of_positions(
    features: np.ndarray, grid: ScoreGrid, positions: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return (t,) distances of t selections from the untouched images.

    Args:
        features: (table rows, f), row-aligned with the table that `grid` was folded from.
        positions: (n, t) index into the grid's lengths.
        counts: (n,) how often each image was drawn, for a bootstrap.

    Raises:
        DataError: the table has no rows of length 0 to compare with.
    """
    if grid.clean_rows is None:
        raise DataError(
            "expected rows of length 0 in the sweep table as the reference of a Fréchet distance, found none"
        )
    drawn = np.arange(len(grid)) if counts is None else np.flatnonzero(counts)
    weights = None if counts is None else counts[drawn]
    reference = features_to_statistics(features, grid.clean_rows[drawn], weights)
    root = matrix_root(reference.covariance)
    distances = [
        statistics_to_distance(
            reference, features_to_statistics(features, grid.rows[drawn, column[drawn]], weights), root
        )
        for column in positions.T
    ]
    return np.array(distances)


def frechet_of_selection(features: np.ndarray, grid: ScoreGrid, selection: Selection) -> float:
    """Return the distance of a selection's reconstructions from the untouched images, both of the included ones."""
    kept = grid.subset(selection.included)
    return float(frechet_of_positions(features, kept, selection.positions[selection.included][:, None])[0])
