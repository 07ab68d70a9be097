"""Scores of several trainings of one network on the same images, and bootstrap intervals over both."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import resampled_means
from alit.analysis.curves import Resampling
from alit.errors import DataError


class Trainings(NamedTuple):
    """One variant: its trainings, the images, and its lengths."""

    seeds: tuple[int, ...]
    lengths: tuple[int, ...]
    values: np.ndarray  # (seeds, images, lengths)

    def restricted(self, seeds: list[int], lengths: list[int]) -> "Trainings":
        """Return the given trainings at the given lengths."""
        rows = [self.seeds.index(seed) for seed in seeds]
        columns = [self.lengths.index(length) for length in lengths]
        return Trainings(tuple(seeds), tuple(lengths), self.values[rows][:, :, columns])


def fold_trainings(table: pd.DataFrame, column: str) -> Trainings:
    """Fold the rows of one variant: one per seed, image_id and length.

    Raises:
        DataError: some training lacks an image or a length, or has one twice.
    """
    ordered = table.sort_values(["seed", "image_id", "length"])
    seeds, lengths = (tuple(int(value) for value in np.unique(ordered[name].to_numpy())) for name in ("seed", "length"))
    images = len(ordered["image_id"].unique())
    if len(ordered) != len(seeds) * images * len(lengths):
        raise DataError(
            f"expected {len(seeds)} trainings x {images} images x {len(lengths)} lengths of a variant, found "
            f"{len(ordered)} rows; run the ablations stage again"
        )
    return Trainings(seeds, lengths, ordered[column].to_numpy(dtype=np.float64).reshape(len(seeds), images, -1))


def sample_trainings(values: np.ndarray, how: Resampling) -> np.ndarray:
    """Return (1 + r, seeds, lengths) means of values (seeds, images, lengths) over images, the point estimate first."""
    seeds, images, _ = values.shape
    side_by_side = values.transpose(1, 0, 2).reshape(images, -1)
    return resampled_means(side_by_side, how.resamples, how.seed).reshape(1 + how.resamples, seeds, -1)


def over_trainings(samples: np.ndarray, seed: int) -> np.ndarray:
    """Return (1 + r, ...) means over trainings of samples (1 + r, seeds, ...), with their spread in the resamples.

    A few trainings are too few to draw from. Each resample of the images is moved instead by a draw from Student's t
    with one degree of freedom less than trainings, times their standard error. A single training leaves that part
    out: its interval is one over images alone.
    """
    count = samples.shape[1]
    means = samples.mean(axis=1)
    if count > 1:
        error = samples[0].std(axis=0, ddof=1) / np.sqrt(count)
        draws = np.random.default_rng([seed, count]).standard_t(count - 1, size=len(means) - 1)
        means[1:] += draws.reshape(-1, *[1] * error.ndim) * error
    return means
