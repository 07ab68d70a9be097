"""Tasks along the curves of selection criteria, and how much more tokens improve a task (C5, C6 and C7)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, resampled_means
from alit.analysis.frechet import sample_frechet
from alit.analysis.grid import SweepGrid
from alit.analysis.metrics import metric_info
from alit.analysis.oracle import oracle_allocation
from alit.analysis.selection import (
    Allocation,
    CurveSamples,
    allocate_by_threshold,
    covering_thresholds,
    criterion_on,
    curve_rows,
    sample_curve,
)
from alit.analysis.study_data import StudyData


def task_curve(data: StudyData, grid: SweepGrid, criterion: str, task: str) -> CurveSamples:
    """Bootstrap tokens and a task along all thresholds of a criterion, from the shortest to the longest for all."""
    allocation = allocate_by_threshold(grid, criterion_on(criterion), covering_thresholds(grid, criterion))
    return sample_curve(grid, allocation, task, data.bootstrap)


def improvement(curve: CurveSamples, task: str) -> np.ndarray:
    """Return (1 + r,) improvement of a task from the shortest length for all to the longest for all."""
    fewest, most = np.argmin(curve.tokens[0]), np.argmax(curve.tokens[0])
    return metric_info(task).sign * (curve.values[:, most] - curve.values[:, fewest])


def improves(data: StudyData, curve: CurveSamples, task: str) -> bool:
    """Whether the whole interval of a task's improvement is above 0."""
    return estimate(improvement(curve, task), data.bootstrap.confidence).low > 0


def no_improvement(task: str) -> str:
    """Return why a task is left out, in words."""
    return f"{metric_info(task).label} does not clearly improve with more tokens"


POINTS = 12


def frechet_curve(data: StudyData, grid: SweepGrid, criterion: str, near: float | None = None) -> CurveSamples | None:
    """Bootstrap tokens and reference Fréchet distance along a criterion's curve; both ends are included.

    Args:
        data: features and how to resample.
        grid: the images.
        criterion: score column to select by.
        near: mean tokens; only the two thresholds on either side of it, and the ends, are measured.

    Returns:
        None where there are no reference features or no untouched images to compare with.
    """
    features = data.features.get(data.settings.feature_extractor)
    if features is None or grid.clean_rows is None:
        return None
    allocation = allocate_by_threshold(grid, criterion_on(criterion), covering_thresholds(grid, criterion))
    tokens = grid.lengths[allocation.positions].astype(np.float64)
    chosen = _spaced(tokens.mean(axis=0)) if near is None else _around(tokens.mean(axis=0), near)
    spent = resampled_means(tokens[:, chosen], data.bootstrap.resamples, data.bootstrap.seed)
    return CurveSamples(spent, sample_frechet(features, grid, allocation.positions[:, chosen], data.bootstrap))


def _spaced(tokens: np.ndarray) -> np.ndarray:
    """Choose thresholds whose mean tokens are spread evenly over the range, both ends included."""
    targets = np.linspace(tokens.min(), tokens.max(), POINTS)
    return np.unique(np.abs(tokens[:, None] - targets).argmin(axis=0))


def _around(tokens: np.ndarray, target: float) -> np.ndarray:
    order = np.argsort(tokens, kind="stable")
    after = int(np.searchsorted(tokens[order], target))
    inside = order[max(after - 2, 0) : after + 2]
    return np.unique([order[0], *inside, order[-1]])


def shown_tasks(data: StudyData) -> list[str]:
    """Return the tasks of the figures: those that the caller chose, else every measured task of the settings.

    The latter are the accuracies of the reference and of the weakest classifier, the other reference tasks, and the
    reference Fréchet distance.
    """
    if data.chosen_tasks is not None:
        return list(data.chosen_tasks)
    accuracies = data.measured(data.accuracy_column, f"top1_{data.settings.classifiers[0]}")
    tasks = list(dict.fromkeys([*accuracies, *data.task_columns()])) or ["l1"]
    extractor = data.settings.feature_extractor
    has_frechet = extractor in data.features and data.grid.clean_rows is not None
    return [*tasks, f"frechet_{extractor}"] if has_frechet else tasks


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
            features = data.features[task.removeprefix("frechet_")]
            tokens = grid.lengths[allocation.positions].astype(np.float64)
            spent = resampled_means(tokens, data.bootstrap.resamples, data.bootstrap.seed)
            curve = CurveSamples(spent, sample_frechet(features, grid, allocation.positions, data.bootstrap))
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
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["toi"])
