"""Intervals of Fréchet distances, which cost an eigendecomposition per resample."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from alit.analysis.bootstrap import Estimate, resampled_indices
from alit.analysis.curves import Resampling
from alit.analysis.frechet import frechet_of_positions
from alit.analysis.grid import ScoreGrid

# A percentile interval needs a thousand resamples; the standard deviation that a normal interval needs is known to
# about a seventh after this many, and with 1280 features each costs seconds.
RESAMPLES = 25


class FrechetSamples(NamedTuple):
    """Distances (1 + r, t), the point estimate first, and the confidence of intervals made from them."""

    values: np.ndarray
    confidence: float

    def estimate(self, statistic: np.ndarray) -> Estimate:
        """Return value and normal bootstrap interval of a statistic (1 + r,) of the distances.

        The spread of the resamples is put around the value itself: a resample holds fewer different images, which
        shifts its distances upwards, and a percentile interval would inherit that shift.
        """
        value, resamples = float(statistic[0]), statistic[1:]
        if not np.isfinite(resamples).all() or not np.isfinite(value):
            return Estimate(value, float("nan"), float("nan"))
        reach = float(norm.ppf(0.5 + self.confidence / 2) * resamples.std(ddof=1))
        return Estimate(value, value - reach, value + reach)


def frechet_samples(features: np.ndarray, grid: ScoreGrid, positions: np.ndarray, how: Resampling) -> FrechetSamples:
    """Bootstrap the distances of t selections, positions (n, t), from the untouched images; both are resampled."""
    rows = [frechet_of_positions(features, grid, positions)]
    for indices in resampled_indices(len(grid), min(RESAMPLES, how.resamples), how.seed):
        for drawn in indices:
            counts = np.bincount(drawn, minlength=len(grid))
            rows.append(frechet_of_positions(features, grid, positions, counts))
    return FrechetSamples(np.stack(rows), how.confidence)
