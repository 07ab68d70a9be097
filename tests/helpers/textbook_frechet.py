"""The Fréchet distance by its formula, to compare with."""

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the distance between two sets of features (n, f) and (m, f)."""
    return moments_distance(first.mean(axis=0), np.cov(first.T), second.mean(axis=0), np.cov(second.T))


def moments_distance(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """Return `|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` of means (f,) and covariances (f, f).

    The trace of a root is the sum of the roots of the eigenvalues, which of S1 S2 are real and at least 0.
    """
    roots = np.sqrt(np.linalg.eigvals(covariance @ other).real.clip(min=0))
    return float(((mean - other_mean) ** 2).sum() + np.trace(covariance + other) - 2 * roots.sum())
