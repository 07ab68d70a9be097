"""A task along the curve of a criterion, and what tokens do for it at all: the ground of C5, C6 and C7."""

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, interval, resampled_means
from alit.analysis.curves import (
    CurveSamples,
    allocate_by_threshold,
    covering_thresholds,
    curve_table,
    sample_curve,
    uniform_allocation,
)
from alit.analysis.frechet import sample_frechet
from alit.analysis.grid import SweepGrid
from alit.analysis.metrics import metric_info
from alit.analysis.oracle import oracle_allocation, oracle_gap_table
from alit.analysis.selection import criterion_on
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
    """Say why a task is left out."""
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
        None where there are no features of record or no untouched images to compare with.
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


def task_curves(data: StudyData) -> pd.DataFrame:
    """Every measurable criterion against every reference task, and the uniform baseline (Fig. 5, 6, 14, 15).

    Tasks are those of record, the accuracy of the weakest classifier beside them, and the reference Fréchet distance,
    on the images of the in-distribution set that every criterion can score. Columns as `curve_table`.
    """
    grid = data.task_grid()
    weak = data.measured(f"top1_{data.settings.classifiers[0]}")
    accuracies = data.measured(data.accuracy_column)
    tasks = list(dict.fromkeys([*accuracies, *weak, *data.task_columns()])) or ["l1"]
    allocations = [allocate_by_threshold(grid, criterion, thresholds) for criterion, thresholds in data.criteria()]
    allocations.append(uniform_allocation(grid))
    table = pd.concat(
        [curve_table(grid, each, tasks, data.base_tokens, data.bootstrap) for each in allocations], ignore_index=True
    )
    extractor = data.settings.feature_extractor
    if extractor not in data.features or grid.clean_rows is None:
        return table
    described = metric_info(f"frechet_{extractor}")
    for each in allocations:
        first = table[(table["tsc"] == each.name) & (table["toi"] == tasks[0])]
        samples = sample_frechet(data.features[extractor], grid, each.positions, data.bootstrap)
        low, high = interval(samples, data.bootstrap.confidence)
        named = {"toi": described.column, "toi_label": described.label, "better": described.better}
        rows = first.assign(**named, value=samples[0], low=low, high=high)
        table = pd.concat([table, rows], ignore_index=True)
    return table


def oracle_curves(data: StudyData) -> pd.DataFrame:
    """The best possible allocation of each reference task, at every capacity; columns as `curve_table`.

    See `oracle_allocation` for what it is optimal for. A Fréchet distance has none.
    """
    grid = data.task_grid()
    parts = [
        curve_table(grid, oracle_allocation(grid, task), [task], data.base_tokens, data.bootstrap)
        for task in data.task_columns()
    ]
    return pd.concat(parts, ignore_index=True)


def oracle_gaps(data: StudyData) -> pd.DataFrame:
    """How much of what tokens can do for a task each reference criterion realizes; see `oracle_gap_table`."""
    return oracle_gap_table(data.task_grid(), data.criterion_columns(), data.task_columns(), data.bootstrap)
