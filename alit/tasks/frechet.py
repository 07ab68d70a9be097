"""Frechet distance between two sets of feature vectors seen as Gaussians: pure functions of arrays.

The distance is named after its features. Only on the reference Inception's is it the FID (Heusel et al.,
2017). Fewer images than features make the covariances rank-deficient and the distance biased upwards: compare
only distances of equally many images.
"""

from typing import NamedTuple

import numpy as np

from alit.errors import DataError

BLOCK = 4096  # rows held in memory at a time, so that features may be a memory-mapped array


class FeatureStatistics(NamedTuple):
    """Mean and covariance of a set of feature vectors."""

    mean: np.ndarray  # (f,) float64
    covariance: np.ndarray  # (f, f) float64, unbiased
    count: int


def features_to_statistics(features: np.ndarray, rows: np.ndarray | None = None) -> FeatureStatistics:
    """Summarise features (n, f), or only the given rows of them, block by block in float64.

    Raises:
        DataError: fewer than two rows, or a value that is not finite.
    """
    rows = np.arange(len(features)) if rows is None else np.asarray(rows)
    if len(rows) < 2:
        raise DataError(
            f"expected at least 2 feature vectors for a covariance, found {len(rows)}; use more images"
        )
    blocks = np.array_split(rows, -(-len(rows) // BLOCK))
    mean = sum(np.sum(features[block], axis=0, dtype=np.float64) for block in blocks) / len(rows)
    scatter = np.zeros((features.shape[1], features.shape[1]))
    for block in blocks:
        centred = np.asarray(features[block], dtype=np.float64) - mean
        scatter += centred.T @ centred
    if not np.isfinite(scatter).all():
        raise DataError(
            "expected finite features, found NaN or infinity; check the reconstructions they come from"
        )
    return FeatureStatistics(np.asarray(mean), scatter / (len(rows) - 1), len(rows))


def statistics_to_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Return |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    The trace of the root is taken from the symmetric C_a^(1/2) C_b C_a^(1/2), which has the same eigenvalues
    as C_a C_b but stays real when covariances are singular.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross).sum()
    return float(np.square(a.mean - b.mean).sum() + max(spread, 0.0))


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Return the Frechet distance between features (n, f) and others (m, f)."""
    return statistics_to_distance(features_to_statistics(features), features_to_statistics(others))
