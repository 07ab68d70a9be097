"""The Fréchet distance between sets of features, and each image's influence on it."""

from typing import NamedTuple

import numpy as np

from alit.analysis.bootstrap import Influence
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
        centered = np.asarray(features[rows[block]], dtype=np.float64) - mean
        scatter += centered.T @ centered
    if not np.isfinite(scatter).all():
        raise DataError("expected finite features, found nan or infinity; run the sweep stage again")
    return FeatureStatistics(mean, scatter / (len(rows) - 1))


RANK_TOLERANCE = 1e-8  # eigenvalues below this share of the largest count as none


class Root(NamedTuple):
    """Eigenvectors (f, k) and roots of eigenvalues (k,) of a covariance of rank k."""

    vectors: np.ndarray
    scales: np.ndarray


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


def features_root(features: np.ndarray) -> Root:
    """Decompose the covariance of features (n, f) by way of the features: cheaper where images are fewer than those."""
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, scales, vectors = np.linalg.svd(centered / np.sqrt(len(features) - 1), full_matrices=False)
    kept = scales**2 > RANK_TOLERANCE * (scales**2).max()
    return Root(vectors[kept].T, scales[kept])


def covariance_root(covariance: np.ndarray) -> Root:
    """Decompose a covariance (f, f), leaving out directions without spread."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > RANK_TOLERANCE * values.max()
    return Root(vectors[:, kept], np.sqrt(values[kept]))
