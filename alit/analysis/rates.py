"""Rate–distortion curves: means per length of every reconstruction measure (paper, Tab. 1, Fig. 3 right)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.curves import Resampling
from alit.analysis.evidence import Evidence
from alit.analysis.frechet_samples import sample_frechet
from alit.analysis.grid import ScoreGrid
from alit.analysis.measures import measure


def rate_table(grid: ScoreGrid, columns: Sequence[str], how: Resampling) -> pd.DataFrame:
    """Return means per data set, length and measure with bootstrap intervals.

    Returns:
        Columns dataset, images (without nulls in the measure), length, measure, label, better, value, low, high.
    """
    parts = []
    for name in grid.datasets:
        for column in columns:
            here = grid.dataset(name).complete([column])
            if not len(here):
                continue
            samples = resampled_means(here.score(column), how.resamples, how.seed)
            low, high = interval(samples, how.confidence)
            parts.append(_rows(name, len(here), here.lengths, column, samples[0], low, high))
    return pd.concat(parts, ignore_index=True)


def study_rates(evidence: Evidence) -> pd.DataFrame:
    """Return the rates of L1, PSNR, SSIM, perceptual distances and, where features are, the Fréchet distance.

    The Fréchet distance is that of the in-distribution set: it depends on the number of images, so that distances of
    sets of different sizes do not belong in one panel.
    """
    wanted = [name for name in ("l1", "psnr", "ssim") if name in evidence.grid.scores]
    table = rate_table(evidence.grid, [*wanted, *evidence.grid.columns("perceptual_")], evidence.how)
    extractor = evidence.settings.feature_extractor
    here = evidence.grid.dataset(evidence.dataset)
    if extractor not in evidence.features or here.clean_rows is None:
        return table
    positions = np.broadcast_to(np.arange(len(here.lengths)), here.rows.shape)
    samples = sample_frechet(evidence.features[extractor], here, positions, evidence.how)
    low, high = interval(samples, evidence.how.confidence)
    column = f"frechet_{extractor}"
    return pd.concat(
        [table, _rows(evidence.dataset, len(here), here.lengths, column, samples[0], low, high)], ignore_index=True
    )


def _rows(
    dataset: str, images: int, lengths: np.ndarray, column: str, value: np.ndarray, low: np.ndarray, high: np.ndarray
) -> pd.DataFrame:
    described = measure(column)
    return pd.DataFrame(
        {
            "dataset": dataset,
            "images": images,
            "length": lengths,
            "measure": column,
            "label": described.label,
            "better": described.better,
            "value": value,
            "low": low,
            "high": high,
        }
    )
