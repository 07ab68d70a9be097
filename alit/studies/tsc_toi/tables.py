"""Tasks along the curves of selection criteria, and how much of what tokens can do for a task each criterion realizes.

The paper compares selection criteria with each other only (C5, C6 and C7). Two allocations frame them here: the same
length for every image, which knows nothing, and an oracle, which knows every image's score at every length and buys the
largest gain per token first.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, resampled_means
from alit.analysis.distances import sample_distances
from alit.analysis.grid import SweepGrid, metric_info
from alit.analysis.selection import (
    Allocation,
    BootstrapConfig,
    CurveSamples,
    allocate_by_threshold,
    at_tokens,
    covering_allocation,
    criterion_on,
    curve_rows,
    mean_advantage,
    own_column,
    sample_curve,
    uniform_allocation,
)
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.tokenizer.budget import lower_hulls

COLUMNS = ("tsc", "tsc_label", "toi", "toi_label", "own", "images", "possible", "value", "low", "high")


class Corners(NamedTuple):
    """The lengths worth choosing of n images: the corners of the lower convex hulls of their losses."""

    positions: np.ndarray  # (n, l) index into the grid's lengths, ascending; the last one repeated
    gains: np.ndarray  # (n, l - 1) fall of the loss per token from each corner to the next, descending; 0: no next


class UniformOracleBounds(NamedTuple):
    """What a task is worth without knowledge and with all of it; curves over the same range of tokens."""

    uniform: CurveSamples
    oracle: CurveSamples
    possible: np.ndarray  # (1 + r,) mean advantage of the oracle over the uniform allocation, 0 or more


def oracle_allocation(grid: SweepGrid, column: str, count: int = 64) -> Allocation:
    """Return the best allocations for the mean of `column`, one for each least gain per token that is still bought.

    Each is optimal for its tokens: no allocation of at most as many has a better mean over these images, because an
    image moves from corner to corner of its hull exactly where the gain per token is at least the threshold (Everett's
    multiplier theorem). Between two of them, linear interpolation (giving each image one or the other at random) is an
    upper bound of what any allocation of that many tokens reaches, and is met up to the step of one image if no
    threshold lies between. Tokens that bring an image nothing are never bought, so the largest capacity may lie below
    the longest length for all.

    It chooses by the scores that it is judged by: an upper end of the scale, not a rule that can be used. There is none
    for a Fréchet distance, which is not a mean over images, so that what one image gains depends on all others.

    Args:
        grid: images with scores in `column` (`complete`).
        column: a score; its better side is that of `measure`.
        count: most thresholds, evenly spaced over the tokens worth buying.
    """
    corners = hull_corners(grid, column)
    gains = corners.gains[corners.gains > 0]
    costs = np.diff(grid.lengths[corners.positions], axis=1)[corners.gains > 0]
    order = np.argsort(-gains, kind="stable")
    spent = np.cumsum(costs[order])
    targets = np.linspace(0, spent[-1], count - 1) if len(spent) else []
    chosen = np.unique(gains[order][np.searchsorted(spent, targets)])
    thresholds = np.array([np.inf, *chosen[::-1]])  # the first buys nothing: the shortest length for all
    bought = np.stack([(corners.gains >= threshold).sum(axis=1) for threshold in thresholds], axis=1)  # n t
    positions = np.take_along_axis(corners.positions, bought, axis=1)
    return Allocation("oracle", "best possible (oracle)", thresholds, positions, np.ones_like(positions, bool))


def hull_corners(grid: SweepGrid, column: str) -> Corners:
    """Return each image's lengths worth choosing for `column` and what each adds per token."""
    losses = -metric_info(column).sign * grid.score(column)
    positions = lower_hulls(grid.lengths, losses)
    falls = -np.diff(np.take_along_axis(losses, positions, axis=1), axis=1)
    costs = np.diff(grid.lengths[positions], axis=1)
    return Corners(positions, np.divide(falls, costs, out=np.zeros_like(falls), where=costs > 0))


def uniform_oracle_bounds(grid: SweepGrid, column: str, bootstrap: BootstrapConfig) -> UniformOracleBounds:
    """Bootstrap the uniform and the oracle allocation of a task, the oracle up to the longest length for all.

    In a resample the same thresholds are optimal for the drawn images: the oracle chooses again for each.
    """
    uniform = sample_curve(grid, uniform_allocation(grid), column, bootstrap)
    best = sample_curve(grid, oracle_allocation(grid, column), column, bootstrap)
    oracle = CurveSamples(
        np.concatenate([best.tokens, np.full_like(best.tokens[:, -1:], grid.longest)], axis=1),
        np.concatenate([best.values, best.values[:, -1:]], axis=1),
    )
    return UniformOracleBounds(uniform, oracle, metric_info(column).sign * mean_advantage(oracle, uniform))


def oracle_gap_closed(curve: CurveSamples, column: str, within: UniformOracleBounds) -> np.ndarray:
    """Return (1 + r,) the share of the possible gain that a criterion's curve realizes: 0 uniform, 1 oracle.

    Gains are areas over the uniform curve between the shortest and the longest length for all. Below 0 the criterion
    is worse than knowing nothing; nan where there is nothing to gain.
    """
    gained = metric_info(column).sign * mean_advantage(curve, within.uniform)
    return np.divide(gained, within.possible, out=np.full_like(gained, np.nan), where=within.possible > 0)


def oracle_gap_table(
    grid: SweepGrid, criteria: Sequence[str], tasks: Sequence[str], bootstrap: BootstrapConfig
) -> pd.DataFrame:
    """Return the share of the possible gain of each criterion and task, with bootstrap intervals over images.

    Returns:
        Columns tsc, tsc_label, toi, toi_label, own (whether TSC = TOI), images, possible (mean advantage of the
        oracle over the uniform allocation, in units of the task), value (share), low, high. A task without anything to
        gain has no rows.
    """
    rows = []
    allocations = [covering_allocation(grid, name) for name in criteria]
    for task in tasks:
        within = uniform_oracle_bounds(grid, task, bootstrap)
        if not (within.possible > 0).all():
            continue
        for allocation in allocations:
            share = estimate(
                oracle_gap_closed(sample_curve(grid, allocation, task, bootstrap), task, within), bootstrap.confidence
            )
            names = (
                allocation.name,
                allocation.label,
                task,
                metric_info(task).label,
                allocation.name == own_column(task),
            )
            rows.append((*names, len(grid), float(within.possible[0]), *share))
    return pd.DataFrame(rows, columns=list(COLUMNS))


UNIFORM = "uniform"  # in place of a criterion: the same length for all
POINTS = 12  # thresholds of a whole curve of a Fréchet distance
ERRORS_AWAY = (1.5, 4)  # standard errors of mean tokens, of thresholds on either side of a target


def task_curve(data: StudyData, grid: SweepGrid, criterion: str, task: str, near: float | None = None) -> CurveSamples:
    """Bootstrap tokens and a task along the thresholds of a criterion, from the shortest to the longest length for all.

    Args:
        data: features and how to resample.
        grid: images with scores in the criterion and the task.
        criterion: score column to select by, or `UNIFORM`.
        task: score column, or `frechet_<reference extractor>`.
        near: mean tokens; only thresholds on either side of it, and both ends, are measured.

    Raises:
        NotMeasurable: a Fréchet distance without reference features or untouched images to compare with.
    """
    allocation = uniform_allocation(grid) if criterion == UNIFORM else covering_allocation(grid, criterion)
    tokens, of_means = grid.lengths[allocation.positions], not task.startswith("frechet_")
    if near is not None:
        allocation = _thinned(allocation, _around(tokens, near))
    elif not of_means:
        allocation = _thinned(allocation, _spaced(tokens.mean(axis=0)))
    if of_means:
        return sample_curve(grid, allocation, task, data.bootstrap)
    return _frechet_curve(data, grid, allocation, task)


def _frechet_curve(data: StudyData, grid: SweepGrid, allocation: Allocation, task: str) -> CurveSamples:
    features = data.features_of(task.removeprefix("frechet_"))
    if features is None or grid.clean_rows is None:
        raise NotMeasurable(f"{metric_info(task).label} cannot be measured without its features and untouched images")
    tokens = grid.lengths[allocation.positions].astype(np.float64)
    spent = resampled_means(tokens, data.bootstrap.resamples, data.bootstrap.seed)
    return CurveSamples(spent, sample_distances(features, "frechet", grid, allocation.positions, data.bootstrap))


def _thinned(allocation: Allocation, kept: np.ndarray) -> Allocation:
    return allocation._replace(
        thresholds=allocation.thresholds[kept],
        positions=allocation.positions[:, kept],
        satisfied=allocation.satisfied[:, kept],
    )


def _spaced(tokens: np.ndarray) -> np.ndarray:
    """Choose thresholds whose mean tokens are spread evenly over the range, both ends included."""
    targets = np.linspace(tokens.min(), tokens.max(), POINTS)
    return np.unique(np.abs(tokens[:, None] - targets).argmin(axis=0))


def _around(tokens: np.ndarray, target: float) -> np.ndarray:
    """Choose thresholds about a target of mean tokens, and both ends, that resamples do not leave.

    Args:
        tokens: (n, t) of images at each threshold.
        target: mean tokens.
    """
    mean = tokens.mean(axis=0)
    order = np.argsort(mean, kind="stable")
    last = len(order) - 1
    error = tokens[:, np.abs(mean - target).argmin()].std() / np.sqrt(len(tokens))
    below = [np.searchsorted(mean[order], target - each * error, side="right") - 1 for each in ERRORS_AWAY]
    above = [np.searchsorted(mean[order], target + each * error) for each in ERRORS_AWAY]
    return np.unique(order[np.clip([0, *below, *above, last], 0, last)])


def value_at(curve: CurveSamples, length: Literal["shortest", "longest"]) -> np.ndarray:
    """Return (1 + r,) values of a curve where all images have the shortest or the longest length."""
    end = np.argmin(curve.tokens[0]) if length == "shortest" else np.argmax(curve.tokens[0])
    return curve.values[:, end]


def improvement(curve: CurveSamples, task: str) -> np.ndarray:
    """Return (1 + r,) improvement of a task from the shortest length for all to the longest for all."""
    return metric_info(task).sign * (value_at(curve, "longest") - value_at(curve, "shortest"))


def better_by(values: np.ndarray, others: np.ndarray, task: str, unit: np.ndarray) -> np.ndarray:
    """Return (1 + r,) by how much values of a task are better than others, in a unit (1 + r,); nan where it is 0."""
    lead = metric_info(task).sign * (values - others)
    return np.divide(lead, np.abs(unit), out=np.full_like(lead, np.nan), where=unit != 0)


RIGHT = 1.0  # the X of "among the top X" at which a class criterion asks for what the accuracy counts


CurveOf = Callable[..., CurveSamples]  # criterion, task and near, as in `task_curve` of these images; it may remember


def advantage(data: StudyData, grid: SweepGrid, curve: CurveOf, chooser: str, task: str, over: str) -> np.ndarray:
    """Return (1 + r,) how much better a task is when one criterion chooses than when another does, at equal tokens.

    A class rank is a criterion of many X, and only at X = 1 does it ask for what an accuracy counts. It is compared
    there, at the tokens that it takes there. A graded score is the task itself at every threshold, and its advantage is
    the mean over all tokens that both criteria can spend. The unit is the task's improvement from the shortest length
    for all to the longest.
    """
    gain = improvement(curve(UNIFORM, task), task)
    if not chooser.startswith("class_rank_"):
        lead = mean_advantage(curve(chooser, task), curve(over, task))
        return better_by(lead, np.zeros_like(lead), task, gain)
    right = allocate_by_threshold(grid, criterion_on(chooser), [RIGHT])
    chosen = sample_curve(grid, right, task, data.bootstrap)
    spent = chosen.tokens[:, 0]
    other = curve(over, task, near=float(spent[0]))
    return better_by(chosen.values[:, 0], at_tokens(other, spent), task, gain)


def shown_tasks(data: StudyData) -> list[str]:
    """Return the tasks of the figures: those that the caller chose, else every measured task of the settings.

    The latter are the accuracies of the reference and of the first classifier, the other reference tasks, L1 as in
    the paper's Fig. 14 and 15, and the Fréchet distance on each network whose features the sweep keeps, the reference
    first: FID, and beside it the distance on VGG16 features that the paper's Fig. 6, 14 and 15 show.
    """
    if data.chosen_tasks is not None:
        return list(data.chosen_tasks)
    accuracies = data.measured(data.accuracy_column, *map(data.accuracy_of, data.settings.classifiers[:1]))
    tasks = list(dict.fromkeys([*accuracies, *data.task_columns(), "l1"]))
    if data.grid.clean_rows is None:
        return tasks
    extractors = sorted(data.features, key=lambda name: name != data.settings.feature_extractor)
    return [*tasks, *(f"frechet_{extractor}" for extractor in extractors)]


def task_curves(data: StudyData, grid: SweepGrid, allocation: Allocation, tasks: Sequence[str]) -> pd.DataFrame:
    """Return how capacity and tasks move along the thresholds of an allocation (Fig. 5, 6, 14, 15).

    Args:
        data: features and how to resample.
        grid: images that have a score in every task that is a mean over images.
        allocation: lengths of these images.
        tasks: score columns, and `frechet_<extractor>`.

    Returns:
        One row per threshold and task; columns as `curve_rows`.
    """
    parts = []
    for task in tasks:
        if task.startswith("frechet_"):
            curve = _frechet_curve(data, grid, allocation, task)
        else:
            curve = sample_curve(grid, allocation, task, data.bootstrap)
        parts.append(curve_rows(grid, allocation, task, curve, data.base_tokens, data.bootstrap))
    return pd.concat(parts, ignore_index=True)


def oracle_curves(data: StudyData, grid: SweepGrid, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the best possible allocation of each task at every capacity; columns as `curve_rows`.

    See `oracle_allocation` for what it is optimal for. A Fréchet distance has none.
    """
    own = [task for task in tasks if not task.startswith("frechet_")]
    parts = [task_curves(data, grid, oracle_allocation(grid, task), [task]) for task in own]
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["toi", "tsc_label", "capacity", "value"])
    )
