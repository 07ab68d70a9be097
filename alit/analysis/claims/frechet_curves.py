"""Fréchet distance along a selection curve, at few thresholds because each point costs a decomposition."""

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.curves import CurveSamples, allocate, covering_thresholds
from alit.analysis.evidence import Evidence
from alit.analysis.frechet_samples import sample_frechet
from alit.analysis.grid import ScoreGrid
from alit.analysis.selection import criterion_on

POINTS = 12


def frechet_curve(
    evidence: Evidence, grid: ScoreGrid, criterion: str, near: float | None = None
) -> CurveSamples | None:
    """Bootstrap tokens and Fréchet distance of record along a criterion's curve; both ends are included.

    Args:
        evidence: features and how to resample.
        grid: the images.
        criterion: score column to select by.
        near: mean tokens; only the two thresholds on either side of it, and the ends, are measured.

    Returns:
        None where there are no features of record or no untouched images to compare with.
    """
    features = evidence.features.get(evidence.settings.feature_extractor)
    if features is None or grid.clean_rows is None:
        return None
    allocation = allocate(grid, criterion_on(criterion), covering_thresholds(grid, criterion))
    tokens = grid.lengths[allocation.positions].astype(np.float64)
    chosen = _spaced(tokens.mean(axis=0)) if near is None else _around(tokens.mean(axis=0), near)
    spent = resampled_means(tokens[:, chosen], evidence.how.resamples, evidence.how.seed)
    return CurveSamples(spent, sample_frechet(features, grid, allocation.positions[:, chosen], evidence.how))


def _spaced(tokens: np.ndarray) -> np.ndarray:
    """Choose thresholds whose mean tokens are spread evenly over the range, both ends included."""
    targets = np.linspace(tokens.min(), tokens.max(), POINTS)
    return np.unique(np.abs(tokens[:, None] - targets).argmin(axis=0))


def _around(tokens: np.ndarray, target: float) -> np.ndarray:
    order = np.argsort(tokens, kind="stable")
    after = int(np.searchsorted(tokens[order], target))
    inside = order[max(after - 2, 0) : after + 2]
    return np.unique([order[0], *inside, order[-1]])
