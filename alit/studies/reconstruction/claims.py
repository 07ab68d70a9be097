"""C1: more tokens reconstruct better."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.distances import DistanceKind, as_distances, sample_distances
from alit.analysis.grid import SweepGrid, every_length, metric_info
from alit.analysis.inference import trend
from alit.analysis.measurements import Column, Measurement, measured, measured_together, pooled
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable

# Of the value at the shortest length, over all lengths. Two trainings of one recipe have differed by up to 3 % in L1
# (docs/lab-log.md): a fall of less than 5 % says little about the method. The paper's FID falls by 63 %.
SMALLEST_FALL = 0.05

C1 = Statement(
    id="C1",
    sentence="More tokens lower the reconstruction loss and the Fréchet distance.",
    source="Tab. 1, Fig. 3, sec. A.1",
    paper="FID 22.57 at 32 tokens falls at each step to 8.25 at 256 (Ours-S, ImageNet-100)",
    criterion="the fall of a straight line through all lengths, from the shortest to the longest, as a share of the "
    "value at the shortest, is above 0 for mean L1 on each data set and for the Fréchet distance in-distribution",
    control="Is it more than the number of images? A Fréchet distance is biased upwards where images are few, and so "
    "is its change from length to length. The same fall is above 0 for the kernel distance, which no number of images "
    "biases, and, where there are at least twice as many images as features, for the Fréchet distance extrapolated to "
    "infinitely many images",
    margins=f"a fall below {SMALLEST_FALL:.0%} of the value at the shortest length is none: two trainings of one "
    "recipe have differed by up to 3 % (docs/lab-log.md)",
)


@assesses(C1)
def more_tokens_reconstruct_better(data: StudyData) -> Claim:
    """C1: one trend over all lengths for mean L1 on each set and for distances in-distribution; steps for comparison.

    The paper says that more tokens lower the loss, and its table falls at each step. A test of each of 42 steps at once
    would hang on the least of them: the trend decides, steps have simultaneous intervals.
    """
    if len(data.grid.lengths) < 2:
        raise NotMeasurable("a tokenizer of one length has no more tokens to offer")
    parts: list[Measurement] = []
    falls = []
    for number, name in enumerate(data.grid.datasets):
        here = data.grid.dataset(name).complete(["l1"])
        # Sets have images of their own: they are resampled independently, so that they can be pooled.
        means = resampled_means(here.score("l1"), data.bootstrap.resamples, data.seed + number)
        falls.append(fitted_fall(means))
        parts.append(_fall(data, here, "l1", "mean L1", falls[-1], "stated"))
        parts += _steps(data, here, "l1", "mean L1", means)
    words = f"fall of mean L1 from {data.grid.lengths[0]} to {data.grid.longest} tokens, mean over {len(falls)} sets"
    headline = measured("l1_trend", words, pooled(*falls), data.bootstrap.confidence, len(data.grid))
    found = list(_distances(data))
    parts += found
    missing = [] if found else [_no_distances(data)]
    return C1.judge(parts, missing, missing_control=missing, headline=headline)


def fitted_fall(samples: np.ndarray) -> np.ndarray:
    """Return (1 + r,) the fall of a line through samples (1 + r, l), end to end, as a share of the first value."""
    return -trend(samples) * (samples.shape[1] - 1) / samples[:, 0]


def _distances(data: StudyData) -> Iterator[Measurement]:
    """Measure the falls of the Fréchet distance, the same extrapolated, and the kernel distance, in-distribution."""
    here, features = data.grid.dataset(data.dataset), data.reference_features
    if features is None or here.clean_rows is None:
        return
    distances = as_distances(features)
    kinds: list[DistanceKind] = ["frechet", "kernel"]
    if distances.can_extrapolate(len(here)):
        kinds.append("frechet_infinity")
    for kind in kinds:
        samples = sample_distances(distances, kind, here, every_length(here), data.bootstrap)
        label = f"the {metric_info(f'{kind}_{data.settings.feature_extractor}').label}"
        yield _fall(data, here, kind, label, fitted_fall(samples), "stated" if kind == "frechet" else "control")
        yield from _steps(data, here, kind, label, samples)


def _no_distances(data: StudyData) -> str:
    extractor = data.settings.feature_extractor or "an extractor"
    return f"distances between sets of images need features of {extractor} beside the table"


def _fall(data: StudyData, grid: SweepGrid, kind: str, label: str, fall: np.ndarray, column: Column) -> Measurement:
    ends = f"from {grid.lengths[0]} to {grid.longest} tokens"
    return measured(
        name=f"{kind}_trend_{grid.datasets[0]}",
        statistic=f"fall of {label} {ends}, a line through all lengths, as a share of the first, {grid.datasets[0]}",
        samples=fall,
        confidence=data.bootstrap.confidence,
        images=len(grid),
        bound=0.0,
        column=column,
        margin=SMALLEST_FALL,
    )


def _steps(data: StudyData, grid: SweepGrid, kind: str, label: str, samples: np.ndarray) -> list[Measurement]:
    """Report the fall from each length to the next, as a share of the value at the shortest; samples (1 + r, l)."""
    dataset = grid.datasets[0]
    names = {
        f"{kind}_{dataset}_{fewer}_{more}": f"fall of {label} from {fewer} to {more} tokens, {dataset} "
        "(simultaneous intervals)"
        for fewer, more in pairwise(grid.lengths)
    }
    falls = -np.diff(samples, axis=1) / samples[:, :1]
    return measured_together(names, falls, data.bootstrap.confidence, len(grid))


CLAIMS = {"C1": more_tokens_reconstruct_better}
