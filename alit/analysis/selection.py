"""Token selection, capacity and curves: the questions of the paper's section 4 to the sweep table (Fig. 5, 6, 14, 15).

A token-selection criterion (TSC) picks for each image the smallest length whose score satisfies it; a task of
interest (TOI) is the mean of another column over the picked rows; the capacity is the share of tokens picked. An
`Allocation` is a family of selections, one per threshold; the uniform baseline is one too, so every rule of spending
tokens is measured by the same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, interval_table, resampled_means
from alit.analysis.grid import KEY, SweepGrid, criterion_label, metric_info, to_grid
from alit.errors import DataError


@dataclass(frozen=True)
class SelectionCriterion:
    """A score and the side of the threshold that satisfies it, strictly: `l1` below 0.07, `ssim` above 0.9.

    "Correct among the top X" is `SelectionCriterion("class_rank_<model>")` with threshold X, since the rank of the best
    guess is 0.
    """

    column: str
    direction: Literal["below", "above"] = "below"


def criterion_on(column: str) -> SelectionCriterion:
    """Return the criterion that asks for a good enough score: below a threshold where lower is better, else above."""
    return SelectionCriterion(column, "below" if metric_info(column).better == "lower" else "above")


def own_column(task: str) -> str:
    """Return the score by which tokens are chosen for a task itself (TSC = TOI): the rank for an accuracy."""
    return f"class_rank_{task.removeprefix('top1_')}" if task.startswith("top1_") else task


@dataclass(frozen=True)
class Selection:
    """The length picked for each of n images.

    Attributes:
        images: the n images' dataset, split and image_id.
        positions: (n,) index into the grid's lengths; -1 for an excluded image.
        lengths: (n,) picked token count; 0 for an excluded image.
        satisfied: (n,) whether some length satisfies the criterion; where none does, the longest is picked.
        included: (n,) false where the criterion's score is unknown (an image without a label has no class
            rank); such an image counts neither in the capacity nor in an evaluation.
    """

    criterion: SelectionCriterion
    threshold: float
    images: pd.DataFrame
    positions: np.ndarray
    lengths: np.ndarray
    satisfied: np.ndarray
    included: np.ndarray

    @property
    def excluded(self) -> int:
        """Number of images without a score to select by."""
        return int((~self.included).sum())

    def to_frame(self) -> pd.DataFrame:
        """Return one row per included image: dataset, split, image_id, length, satisfied."""
        picked = self.images.assign(length=self.lengths, satisfied=self.satisfied)
        return pd.DataFrame(picked.loc[self.included]).reset_index(drop=True)


class Evaluation(NamedTuple):
    """The mean of a column over a selection, and over how many images; `excluded` had no score or no selection."""

    value: float
    images: int
    excluded: int


def select(table: pd.DataFrame | SweepGrid, criterion: SelectionCriterion, threshold: float) -> Selection:
    """Pick for each image the smallest length that satisfies the criterion, else the longest.

    Scores need not be monotone in the length: the *first* length that satisfies is picked, whatever follows.
    The untouched image (length 0) is never picked. Lay the table out once (`to_grid`) when selecting more than once.

    Raises:
        DataError: the criterion's column is missing, or null for every image.
    """
    grid = as_grid(table)
    scores = grid.score(criterion.column)
    included = np.asarray(np.isfinite(scores).all(axis=1))
    if not included.any():
        raise DataError(f"expected scores in column {criterion.column!r} to select by, found only nulls")
    first = first_satisfying(scores, criterion.direction, np.array([threshold]))[:, 0]
    satisfied = (first < len(grid.lengths)) & included
    positions = np.where(included, np.minimum(first, len(grid.lengths) - 1), -1)
    return Selection(
        criterion=criterion,
        threshold=threshold,
        images=pd.DataFrame(grid.images[list(KEY)]),
        positions=positions,
        lengths=np.where(included, grid.lengths[positions], 0),
        satisfied=satisfied,
        included=included,
    )


def capacity(selection: Selection, base_tokens: int) -> float:
    """Return the picked tokens as a share of `base_tokens` for each included image (paper, section 4).

    `base_tokens` is what the share is of: the base tokenizer's image tokens as in the paper's figures, or the
    longest length for "of the maximum tokens"; in the paper both are 256.
    """
    return float(selection.lengths[selection.included].mean() / base_tokens)


def evaluate(table: pd.DataFrame | SweepGrid, selection: Selection, column: str) -> Evaluation:
    """Return the mean of `column` over the picked rows (a task of interest, TOI).

    `top1_<model>` is the accuracy of a model. Images excluded from the selection, or whose picked row has no
    value in `column`, are left out and counted.
    """
    scores = as_grid(table).score(column)
    if len(scores) != len(selection.positions):
        raise DataError(f"expected a selection of {len(scores)} images, found one of {len(selection.positions)}")
    values = scores[np.arange(len(scores)), selection.positions]
    known = selection.included & ~np.isnan(values)
    if not known.any():
        raise DataError(f"expected values in column {column!r} for the selected images, found none")
    return Evaluation(float(values[known].mean()), int(known.sum()), int((~known).sum()))


def first_satisfying(scores: np.ndarray, direction: Literal["below", "above"], thresholds: np.ndarray) -> np.ndarray:
    """Return (n, t) positions of the first length that satisfies each threshold; l where none does.

    Args:
        scores: (n, l), lengths ascending.
        thresholds: (t,)
    """
    sign = 1.0 if direction == "below" else -1.0
    # The first length below a threshold is the first at which the running minimum is: counting replaces searching.
    best = np.minimum.accumulate(sign * scores, axis=1)
    positions = np.empty((len(scores), len(thresholds)), dtype=np.int64)
    for column, threshold in enumerate(thresholds):
        positions[:, column] = (~(best < sign * threshold)).sum(axis=1)
    return positions


def as_grid(table: pd.DataFrame | SweepGrid) -> SweepGrid:
    """Return the grid of a table; a grid passes through."""
    return table if isinstance(table, SweepGrid) else to_grid(table)


class Allocation(NamedTuple):
    """Lengths of n images under each of t thresholds."""

    name: str  # the criterion's column, or "uniform"
    label: str
    thresholds: np.ndarray  # (t,)
    positions: np.ndarray  # (n, t) index into the grid's lengths
    satisfied: np.ndarray  # (n, t)


class BootstrapConfig(NamedTuple):
    """How intervals are made: bootstrap resamples over images, confidence and seed."""

    resamples: int
    confidence: float
    seed: int


class CurveSamples(NamedTuple):
    """A curve and its resamples, point estimate first: tokens and task values by threshold."""

    tokens: np.ndarray  # (1 + r, t) mean tokens per image
    values: np.ndarray  # (1 + r, t)


def allocate_by_threshold(
    grid: SweepGrid, criterion: SelectionCriterion, thresholds: Sequence[float] | np.ndarray
) -> Allocation:
    """Select at every threshold; all images must have scores (`grid.complete`).

    Raises:
        DataError: some image has no score; a curve over changing images would compare nothing.
    """
    scores = grid.score(criterion.column)
    unknown = int((~np.isfinite(scores).all(axis=1)).sum())
    if unknown:
        raise DataError(
            f"expected scores in {criterion.column!r} for all {len(grid)} images, found {unknown} without; "
            "restrict the grid with complete()"
        )
    thresholds = np.asarray(thresholds, dtype=np.float64)
    first = first_satisfying(scores, criterion.direction, thresholds)
    last = len(grid.lengths) - 1
    label = criterion_label(criterion.column)
    return Allocation(criterion.column, label, thresholds, np.minimum(first, last), first <= last)


def uniform_allocation(grid: SweepGrid) -> Allocation:
    """The same length for every image: what a fixed-length tokenizer does, one threshold per length."""
    steps = np.arange(len(grid.lengths))
    positions = np.broadcast_to(steps, (len(grid), len(steps)))
    return Allocation(
        "uniform", "same length for all", grid.lengths.astype(float), positions, np.ones_like(positions, bool)
    )


SMALL_RANKS = 10  # every X up to here is a threshold of a class rank


def covering_thresholds(grid: SweepGrid, column: str, count: int = 64) -> np.ndarray:
    """Return at most `count` + 1 thresholds, strictest first, from "no image satisfies" to "all do at the shortest".

    They are quantiles of the scores themselves, so that a curve spans every capacity whatever the units. For class
    ranks they are every X from 0 to 10 and above these one more than quantiles of the ranks: X = 1, where the network
    must be right, is the only one at which the criterion is the task itself. They belong to `criterion_on(column)`.
    """
    scores = grid.score(column)
    if column.startswith("class_rank_"):
        above = np.ceil(np.quantile(scores, np.linspace(0, 1, count - SMALL_RANKS))) + 1
        return np.unique([*np.arange(min(SMALL_RANKS, scores.max() + 1) + 1), *above])
    inner = np.quantile(scores, np.linspace(0, 1, count))
    if criterion_on(column).direction == "above":
        return np.unique([np.nextafter(scores.min(), -np.inf), *inner])[::-1]
    return np.unique([*inner, np.nextafter(scores.max(), np.inf)])


def covering_allocation(grid: SweepGrid, column: str) -> Allocation:
    """Return a score's lengths under its covering thresholds; all images must have scores (`grid.complete`)."""
    return allocate_by_threshold(grid, criterion_on(column), covering_thresholds(grid, column))


def picked(grid: SweepGrid, allocation: Allocation, column: str) -> np.ndarray:
    """Return (n, t) values of `column` at the allocated lengths."""
    return np.take_along_axis(grid.score(column), allocation.positions, axis=1)


def sample_curve(grid: SweepGrid, allocation: Allocation, column: str, bootstrap: BootstrapConfig) -> CurveSamples:
    """Bootstrap mean tokens and mean `column` together, so that points move along their own curve."""
    tokens = grid.lengths[allocation.positions].astype(np.float64)
    both = resampled_means(
        np.concatenate([tokens, picked(grid, allocation, column)], axis=1), bootstrap.resamples, bootstrap.seed
    )
    split = len(allocation.thresholds)
    return CurveSamples(both[:, :split], both[:, split:])


def curve_rows(
    grid: SweepGrid,
    allocation: Allocation,
    task: str,
    curve: CurveSamples,
    base_tokens: int,
    bootstrap: BootstrapConfig,
) -> pd.DataFrame:
    """Return one task's samples along an allocation as tidy rows, one per threshold.

    Returns:
        Columns tsc, tsc_label, threshold, capacity (share of `base_tokens`), capacity_low, capacity_high, satisfied
        (images), images, toi, toi_label, better, value, low, high. Intervals are percentiles of the bootstrap.
    """
    fewest, most = interval(curve.tokens / base_tokens, bootstrap.confidence)
    described = metric_info(task)
    return interval_table(
        curve.values,
        bootstrap.confidence,
        tsc=allocation.name,
        tsc_label=allocation.label,
        threshold=allocation.thresholds,
        capacity=curve.tokens[0] / base_tokens,
        capacity_low=fewest,
        capacity_high=most,
        satisfied=allocation.satisfied.sum(axis=0),
        images=len(grid),
        toi=task,
        toi_label=described.label,
        better=described.better,
    )


def at_tokens(curve: CurveSamples, tokens: float | np.ndarray) -> np.ndarray:
    """Return (1 + r,) values interpolated linearly where a curve spends `tokens` per image; nan outside its range.

    A point between two thresholds can be had: give each image the one or the other threshold at random. `tokens` may
    be (1 + r,), what another rule spends in each resample, or (1 + r, k), what k rules do, which gives (1 + r, k).
    """
    wanted = np.asarray(tokens, dtype=np.float64)
    targets = wanted if wanted.ndim == 2 else np.broadcast_to(wanted, len(curve.tokens))
    return np.array(
        [
            np.interp(target, *_ascending(spent, values), left=np.nan, right=np.nan)
            for target, spent, values in zip(targets, curve.tokens, curve.values, strict=True)
        ]
    )


def mean_advantage(own: CurveSamples, other: CurveSamples, points: int = 65) -> np.ndarray:
    """Return (1 + r,) the signed area between two curves over their common tokens, divided by its width.

    Positive where `own` has the larger values; nan where the curves share no range of tokens.
    """
    advantages = []
    for row in range(len(own.tokens)):
        first, second = (_ascending(curve.tokens[row], curve.values[row]) for curve in (own, other))
        low, high = max(first[0][0], second[0][0]), min(first[0][-1], second[0][-1])
        grid = np.linspace(low, high, points)
        gap = np.interp(grid, *first) - np.interp(grid, *second)
        advantages.append(np.trapezoid(gap, grid) / (high - low) if high > low else np.nan)
    return np.array(advantages)


def tokens_to_reach(curve: CurveSamples, share: float) -> np.ndarray:
    """Return (1 + r,) the fewest mean tokens at which `share` of a curve's whole change is made, by interpolation.

    The whole change runs from the value at the fewest tokens to the value at the most; nan where there is none.
    """
    reached = []
    for spent, values in zip(curve.tokens, curve.values, strict=True):
        tokens, values = _ascending(spent, values)
        change = values[-1] - values[0]
        progress = (values - values[0]) / change if change else np.full_like(values, np.nan)
        after = int(np.argmax(progress >= share)) if (progress >= share).any() else -1
        if after <= 0:
            reached.append(np.nan)
            continue
        ends = slice(after - 1, after + 1)
        reached.append(np.interp(share, progress[ends], tokens[ends]))
    return np.array(reached)


def mean_tokens_needed(curve: CurveSamples) -> np.ndarray:
    """Return (1 + r,) mean tokens at which a curve's change is made, averaged over the whole change.

    It is the mean of `tokens_to_reach` over every share from 0 to 1 where a curve only rises or only falls. It hangs on
    all of the curve; the tokens for one share hang on two points of it. The whole change runs from the value at
    the fewest tokens to the value at the most; nan where there is none.
    """
    needed = []
    for spent, values in zip(curve.tokens, curve.values, strict=True):
        tokens, values = _ascending(spent, values)
        change = values[-1] - values[0]
        made = np.trapezoid(values - values[0], tokens) / change if change else np.nan  # tokens after it was made
        needed.append(tokens[-1] - made)
    return np.array(needed)


def _ascending(tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort a curve by tokens and average points that spend the same, so that interpolation is defined."""
    unique, group = np.unique(tokens, return_inverse=True)
    return unique, np.bincount(group, weights=values) / np.bincount(group)


def middle_threshold(grid: SweepGrid, thresholds: Sequence[float]) -> float:
    """Return the L1 threshold whose mean selected length lies nearest the middle of the shortest and the longest.

    At a very loose or very strict threshold every image gets the same length and nothing can be ordered; this picks
    the most telling threshold without looking at complexity.
    """
    allocation = allocate_by_threshold(grid, SelectionCriterion("l1"), thresholds)
    mean = grid.lengths[allocation.positions].mean(axis=0)
    middle = (grid.lengths[0] + grid.lengths[-1]) / 2
    return float(allocation.thresholds[np.argmin(np.abs(mean - middle))])
