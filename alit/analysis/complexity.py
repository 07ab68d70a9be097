"""Complexity against loss and against selected length (paper, section 4, Fig. 4, 11, 12)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from alit.analysis.bootstrap import interval, resampled, resampled_means
from alit.analysis.curves import Allocation, Resampling, allocate
from alit.analysis.grid import ScoreGrid
from alit.analysis.measures import measure
from alit.analysis.selection import Criterion

MIN_IMAGES = 20  # fewer images with a complexity than this give no rank correlation worth an interval
CODECS = ("jpeg_bytes", "webp_bytes")


class Predictor(NamedTuple):
    """Something that may go with complexity."""

    kind: str
    setting: float  # a length or a threshold; not a number where there is none
    words: str
    values: np.ndarray  # (n,) one per image


def codec_label(column: str) -> str:
    """Name the file size that one of `CODECS` holds."""
    return {"jpeg_bytes": "JPEG bytes", "webp_bytes": "WebP bytes"}[column]


def scored_datasets(grid: ScoreGrid) -> tuple[str, ...]:
    """Names of the data sets in which at least `MIN_IMAGES` images have a complexity, and not all the same."""
    complexity = grid.per_image("complexity")
    found = []
    for name in grid.datasets:
        known = complexity[(grid.images["dataset"] == name).to_numpy(dtype=bool) & ~np.isnan(complexity)]
        if len(known) >= MIN_IMAGES and np.ptp(known) > 0:
            found.append(name)
    return tuple(found)


def scored_images(grid: ScoreGrid, dataset: str) -> ScoreGrid:
    """Return the grid of the images of one data set that have a complexity and an L1 at every length."""
    part = grid.dataset(dataset).complete(["l1"])
    return part.subset(~np.isnan(part.per_image("complexity")))


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (r,) rank correlations of the rows of two (r, n) arrays, ties at their mean rank; 0 for a constant row."""
    ranks = [rankdata(values, axis=-1) for values in (first, second)]
    centred = [rank - rank.mean(axis=-1, keepdims=True) for rank in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(-1) * (centred[1] ** 2).sum(-1))
    return np.divide((centred[0] * centred[1]).sum(-1), spread, out=np.zeros_like(spread), where=spread > 0)


def spearman_samples(complexity: np.ndarray, values: np.ndarray, how: Resampling) -> np.ndarray:
    """Return (1 + r, k) rank correlations of complexity (n,) with each column of `values` (n, k), over resamples."""

    def correlate(indices: np.ndarray) -> np.ndarray:
        drawn = complexity[indices]
        return np.stack([spearman(drawn, column[indices]) for column in values.T], axis=-1)

    return resampled(correlate, len(complexity), how.resamples, how.seed)


def middle_threshold(grid: ScoreGrid, thresholds: Sequence[float]) -> float:
    """Return the L1 threshold whose mean selected length lies nearest the middle of the shortest and the longest.

    At a very loose or very strict threshold every image gets the same length and nothing can be ordered; this picks
    the most telling threshold without looking at complexity.
    """
    allocation = allocate(grid, Criterion("l1"), thresholds)
    mean = grid.lengths[allocation.positions].mean(axis=0)
    middle = (grid.lengths[0] + grid.lengths[-1]) / 2
    return float(allocation.thresholds[np.argmin(np.abs(mean - middle))])


def correlation_table(grid: ScoreGrid, thresholds: Sequence[float], how: Resampling) -> pd.DataFrame:
    """Spearman of complexity with L1 at each length, with the selected length, and with codec bytes where known.

    Returns:
        Columns dataset, images, kind ("loss", "length" or "codec"), setting (length, threshold or nan), predictor
        (words), value, low, high.
    """

    def predictors(part: ScoreGrid) -> list[Predictor]:
        losses = zip(part.lengths, part.score("l1").T, strict=True)
        allocation = allocate(part, Criterion("l1"), thresholds)
        picked = zip(thresholds, part.lengths[allocation.positions].T, strict=True)
        return [
            *(Predictor("loss", float(length), f"L1 with {length} tokens", loss) for length, loss in losses),
            *(Predictor("length", limit, f"length under L1 < {limit:g}", length) for limit, length in picked),
            *codec_predictors(part),
        ]

    return _correlated(grid, predictors, how)


def error_correlations(grid: ScoreGrid, columns: Sequence[str], how: Resampling) -> pd.DataFrame:
    """Spearman of complexity with several measures of error at the shortest, a middle and the longest length.

    Measures of which more is better are counted downwards, so that a value above 0 says "worse where more complex".

    Args:
        grid: of one tokenizer.
        columns: scores such as l1, ssim and a perceptual distance; those that a data set lacks are left out there.
        how: how intervals are made.

    Returns:
        Columns as of `correlation_table`; kind is the measure's label, or "codec".
    """
    chosen = np.unique([0, len(grid.lengths) // 2, len(grid.lengths) - 1])

    def predictors(part: ScoreGrid) -> list[Predictor]:
        found = []
        for each in (measure(column) for column in columns if np.isfinite(part.score(column)).all()):
            short = each.label.split(" on ")[0]  # `kind` names the network
            for place in chosen:
                words = f"{short} with {part.lengths[place]} tokens"
                values = -each.sign * part.score(each.column)[:, place]
                found.append(Predictor(each.label, float(part.lengths[place]), words, values))
        return [*found, *codec_predictors(part)]

    return _correlated(grid, predictors, how)


def codec_predictors(grid: ScoreGrid) -> list[Predictor]:
    """Return the sizes of images as files, where the table has them for every image."""
    known = [codec for codec in CODECS if np.isfinite(grid.per_image(codec)).all()]
    return [Predictor("codec", np.nan, codec_label(codec), grid.per_image(codec)) for codec in known]


def _correlated(
    grid: ScoreGrid, predictors: Callable[[ScoreGrid], Sequence[Predictor]], how: Resampling
) -> pd.DataFrame:
    """Correlate complexity with what each data set's images are predicted by."""
    parts = []
    for name in scored_datasets(grid):
        part = scored_images(grid, name)
        found = predictors(part)
        values = np.stack([each.values for each in found], axis=1)
        samples = spearman_samples(part.per_image("complexity"), values, how)
        low, high = interval(samples, how.confidence)
        told = pd.DataFrame([each[:3] for each in found], columns=["kind", "setting", "predictor"])
        parts.append(told.assign(dataset=name, images=len(part), value=samples[0], low=low, high=high))
    columns = ["dataset", "images", "kind", "setting", "predictor", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns) if parts else pd.DataFrame(columns=columns)


def loss_by_complexity(grid: ScoreGrid, how: Resampling, bins: int = 6) -> pd.DataFrame:
    """Mean L1 at each length in bins of complexity holding as many images each (Fig. 4, 11, 12).

    Returns:
        Columns dataset, images, bin, complexity (mean of the bin), in_bin (images), setting (length), value, low, high.
    """
    parts = [
        _binned(part, part.score("l1"), part.lengths, how, bins)
        for part in (scored_images(grid, name) for name in scored_datasets(grid))
    ]
    return _stack(parts)


def length_by_complexity(grid: ScoreGrid, thresholds: Sequence[float], how: Resampling, bins: int = 6) -> pd.DataFrame:
    """Mean selected length under each L1 threshold in bins of complexity; columns as `loss_by_complexity`."""
    parts = []
    for part in (scored_images(grid, name) for name in scored_datasets(grid)):
        allocation = allocate(part, Criterion("l1"), thresholds)
        parts.append(_binned(part, part.lengths[allocation.positions], np.asarray(thresholds), how, bins))
    return _stack(parts)


def length_counts(grid: ScoreGrid, allocation: Allocation) -> pd.DataFrame:
    """Count images by selected length and threshold: columns threshold, length, images, share, unsatisfied."""
    rows = []
    for column, threshold in enumerate(allocation.thresholds):
        positions = allocation.positions[:, column]
        counts = np.bincount(positions, minlength=len(grid.lengths))
        unsatisfied = np.bincount(positions[~allocation.satisfied[:, column]], minlength=len(grid.lengths))
        for length, count, never in zip(grid.lengths, counts, unsatisfied, strict=True):
            rows.append((float(threshold), int(length), int(count), count / len(grid), never / len(grid)))
    return pd.DataFrame(rows, columns=["threshold", "length", "images", "share", "unsatisfied"])


def _binned(grid: ScoreGrid, values: np.ndarray, settings: np.ndarray, how: Resampling, bins: int) -> pd.DataFrame:
    complexity = grid.per_image("complexity")
    # Equal complexities stay in one bin: a bin is a range of complexity, not a slice of an arbitrary order.
    edges = np.unique(np.quantile(complexity, np.linspace(0, 1, bins + 1)[1:-1]))
    number = np.searchsorted(edges, complexity, side="left")
    rows = []
    for index in np.unique(number):
        inside = number == index
        samples = resampled_means(np.asarray(values[inside], dtype=np.float64), how.resamples, how.seed)
        low, high = interval(samples, how.confidence)
        rows.append(
            pd.DataFrame(
                {
                    "dataset": grid.datasets[0],
                    "images": len(grid),
                    "bin": int(index),
                    "complexity": complexity[inside].mean(),
                    "in_bin": int(inside.sum()),
                    "setting": settings,
                    "value": samples[0],
                    "low": low,
                    "high": high,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["dataset", "images", "bin", "complexity", "in_bin", "setting", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
