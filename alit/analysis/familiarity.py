"""Familiarity: what unfamiliar images lose at few tokens (paper, section 4, Tab. 1).

The paper compares the FID at 64 tokens with that at all 256, on images of the training distribution, on near and on far
ones. Here a quarter of the longest length stands for the 64 tokens. Sets have images of their own, so that they are
resampled independently; the lengths of one set are paired.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.evidence import Evidence
from alit.analysis.frechet_samples import sample_frechet
from alit.analysis.grid import ScoreGrid
from alit.analysis.kernel_samples import sample_kernel
from alit.analysis.measures import measure
from alit.analysis.rates import MIN_IMAGES, every_length

SHARE = 0.25  # of the longest length: 64 of the paper's 256 tokens


class Gap(NamedTuple):
    """How much more a set loses at few tokens than at the longest length; positive is worse at few."""

    dataset: str
    images: int
    column: str
    length: int  # the few tokens
    samples: np.ndarray  # (1 + r,)


def ordered_sets(evidence: Evidence) -> tuple[str, ...]:
    """Return the in-distribution set and those of `analysis.familiarity` that were swept, most familiar first."""
    return (evidence.dataset, *(name for name in evidence.settings.familiarity if name in evidence.grid.datasets))


def few_lengths(grid: ScoreGrid) -> tuple[int, ...]:
    """Return the places of the shortest length and of the one nearest a quarter of the longest, shortest first."""
    quarter = int(np.abs(grid.lengths - SHARE * grid.longest).argmin())
    return tuple(dict.fromkeys(place for place in (0, quarter) if place < len(grid.lengths) - 1))


def measured_gaps(evidence: Evidence) -> Iterator[Gap]:
    """Yield the gaps of every set: mean L1, and where there are features of record the two distances.

    The Fréchet distance depends on the number of images, so that its gaps are taken of as many images from each of the
    ordered sets as the smallest of them has, spread evenly over a set; other sets have none. What remains of the bias
    is the same for sets whose features spread alike. The kernel distance has no such bias and takes all images: where
    the two disagree on the order, the number of images is the first thing to suspect.
    """
    order = ordered_sets(evidence)
    names = [*order, *(name for name in evidence.grid.datasets if name not in order)]
    fewest = min(len(evidence.grid.dataset(name)) for name in order)
    extractor = evidence.settings.feature_extractor
    features = evidence.features.get(extractor) if evidence.grid.clean_rows is not None else None
    for number, name in enumerate(names):
        here = evidence.grid.dataset(name)
        how = evidence.how._replace(seed=evidence.seed + number)
        yield from _gaps(here, "l1", resampled_means(here.score("l1"), how.resamples, how.seed))
        if features is None or len(here) < MIN_IMAGES:
            continue
        if name in order:
            equal = here.subset(np.arange(fewest) * len(here) // fewest)
            distances = sample_frechet(features, equal, every_length(equal), how)
            yield from _gaps(equal, f"frechet_{extractor}", distances)
        yield from _gaps(here, f"kernel_{extractor}", sample_kernel(features, here, every_length(here), how))


def gap_table(evidence: Evidence) -> pd.DataFrame:
    """Return the tidy form of the gaps.

    Returns:
        Columns dataset, images, measure, label, length (the few tokens), value, low, high; most familiar sets first.
    """
    parts = []
    for gap in measured_gaps(evidence):
        low, high = interval(gap.samples, evidence.how.confidence)
        label = measure(gap.column).label
        parts.append((gap.dataset, gap.images, gap.column, label, gap.length, gap.samples[0], low, high))
    columns = ["dataset", "images", "measure", "label", "length", "value", "low", "high"]
    return pd.DataFrame(parts, columns=columns)


def _gaps(grid: ScoreGrid, column: str, samples: np.ndarray) -> Iterator[Gap]:
    """Take samples (1 + r, l) at few tokens minus those at the longest length."""
    for place in few_lengths(grid):
        yield Gap(grid.datasets[0], len(grid), column, int(grid.lengths[place]), samples[:, place] - samples[:, -1])
