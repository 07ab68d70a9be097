"""Fréchet distance along a selection curve, at few thresholds because each point costs a decomposition."""

from typing import NamedTuple

import numpy as np

from alit.analysis.bootstrap import Estimate, resampled_means
from alit.analysis.curves import CurveSamples, allocate, covering_thresholds
from alit.analysis.evidence import Evidence
from alit.analysis.frechet_samples import FrechetSamples, frechet_samples
from alit.analysis.grid import ScoreGrid
from alit.analysis.selection import Criterion

POINTS = 12


class FrechetCurve(NamedTuple):
    """Mean tokens and distances along a curve, with how to make intervals of statistics of them."""

    curve: CurveSamples
    samples: FrechetSamples

    def estimate(self, statistic: np.ndarray) -> Estimate:
        """Return value and interval of a statistic (1 + r,) of the curve."""
        return self.samples.estimate(statistic)


def frechet_curve(
    evidence: Evidence, grid: ScoreGrid, criterion: str, near: float | None = None
) -> FrechetCurve | None:
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
    allocation = allocate(grid, Criterion(criterion), covering_thresholds(grid, criterion))
    tokens = grid.lengths[allocation.positions].astype(np.float64)
    chosen = _spaced(tokens.mean(axis=0)) if near is None else _around(tokens.mean(axis=0), near)
    samples = frechet_samples(features, grid, allocation.positions[:, chosen], evidence.how)
    spent = resampled_means(tokens[:, chosen], len(samples.values) - 1, evidence.how.seed)
    return FrechetCurve(CurveSamples(spent, samples.values), samples)


def _spaced(tokens: np.ndarray) -> np.ndarray:
    """Choose thresholds whose mean tokens are spread evenly over the range, both ends included."""
    targets = np.linspace(tokens.min(), tokens.max(), POINTS)
    return np.unique(np.abs(tokens[:, None] - targets).argmin(axis=0))


def _around(tokens: np.ndarray, target: float) -> np.ndarray:
    order = np.argsort(tokens, kind="stable")
    after = int(np.searchsorted(tokens[order], target))
    inside = order[max(after - 2, 0) : after + 2]
    return np.unique([order[0], *inside, order[-1]])
