"""A task along the curve of a criterion, and what tokens do for it at all: the ground of C5, C6 and C7."""

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, interval, resampled_means
from alit.analysis.curves import (
    CurveSamples,
    allocate,
    covering_thresholds,
    curve_table,
    sample_curve,
    uniform_allocation,
)
from alit.analysis.frechet import sample_frechet
from alit.analysis.grid import ScoreGrid
from alit.analysis.metrics import measure
from alit.analysis.oracle import oracle_allocation, realised_table
from alit.analysis.selection import criterion_on
from alit.analysis.study_data import Evidence


def task_curve(evidence: Evidence, grid: ScoreGrid, criterion: str, task: str) -> CurveSamples:
    """Bootstrap tokens and a task along all thresholds of a criterion, from the shortest to the longest for all."""
    allocation = allocate(grid, criterion_on(criterion), covering_thresholds(grid, criterion))
    return sample_curve(grid, allocation, task, evidence.how)


def improvement(curve: CurveSamples, task: str) -> np.ndarray:
    """Return (1 + r,) improvement of a task from the shortest length for all to the longest for all."""
    fewest, most = np.argmin(curve.tokens[0]), np.argmax(curve.tokens[0])
    return measure(task).sign * (curve.values[:, most] - curve.values[:, fewest])


def improves(evidence: Evidence, curve: CurveSamples, task: str) -> bool:
    """Whether the whole interval of a task's improvement is above 0."""
    return estimate(improvement(curve, task), evidence.how.confidence).low > 0


def no_improvement(task: str) -> str:
    """Say why a task is left out."""
    return f"{measure(task).label} does not clearly improve with more tokens"


POINTS = 12


def frechet_curve(
    evidence: Evidence, grid: ScoreGrid, criterion: str, near: float | None = None
) -> CurveSamples | None:
    """Bootstrap tokens and Fréchet distance of record along a criterion's curve; both ends are included.

    Args:
        evidence: features and how to resample.
        grid: the images.
        criterion: score column to select by.
        near: mean tokens; only the two thresholds on either side of it, and the ends, are measured.

    Returns:
        None where there are no features of record or no untouched images to compare with.
    """
    features = evidence.features.get(evidence.settings.feature_extractor)
    if features is None or grid.clean_rows is None:
        return None
    allocation = allocate(grid, criterion_on(criterion), covering_thresholds(grid, criterion))
    tokens = grid.lengths[allocation.positions].astype(np.float64)
    chosen = _spaced(tokens.mean(axis=0)) if near is None else _around(tokens.mean(axis=0), near)
    spent = resampled_means(tokens[:, chosen], evidence.how.resamples, evidence.how.seed)
    return CurveSamples(spent, sample_frechet(features, grid, allocation.positions[:, chosen], evidence.how))


def _spaced(tokens: np.ndarray) -> np.ndarray:
    """Choose thresholds whose mean tokens are spread evenly over the range, both ends included."""
    targets = np.linspace(tokens.min(), tokens.max(), POINTS)
    return np.unique(np.abs(tokens[:, None] - targets).argmin(axis=0))


def _around(tokens: np.ndarray, target: float) -> np.ndarray:
    order = np.argsort(tokens, kind="stable")
    after = int(np.searchsorted(tokens[order], target))
    inside = order[max(after - 2, 0) : after + 2]
    return np.unique([order[0], *inside, order[-1]])


def task_curves(evidence: Evidence) -> pd.DataFrame:
    """Every measurable criterion against every task of record, and the uniform baseline (Fig. 5, 6, 14, 15).

    Tasks are those of record, the accuracy of the weakest classifier beside them, and the Fréchet distance of record,
    on the images of the in-distribution set that every criterion can score. Columns as `curve_table`.
    """
    grid = evidence.task_grid()
    weak = evidence.measured(f"top1_{evidence.settings.classifiers[0]}")
    accuracies = evidence.measured(evidence.accuracy_column)
    tasks = list(dict.fromkeys([*accuracies, *weak, *evidence.task_columns()])) or ["l1"]
    allocations = [allocate(grid, criterion, thresholds) for criterion, thresholds in evidence.criteria()]
    allocations.append(uniform_allocation(grid))
    table = pd.concat(
        [curve_table(grid, each, tasks, evidence.base_tokens, evidence.how) for each in allocations], ignore_index=True
    )
    extractor = evidence.settings.feature_extractor
    if extractor not in evidence.features or grid.clean_rows is None:
        return table
    described = measure(f"frechet_{extractor}")
    for each in allocations:
        first = table[(table["tsc"] == each.name) & (table["toi"] == tasks[0])]
        samples = sample_frechet(evidence.features[extractor], grid, each.positions, evidence.how)
        low, high = interval(samples, evidence.how.confidence)
        named = {"toi": described.column, "toi_label": described.label, "better": described.better}
        rows = first.assign(**named, value=samples[0], low=low, high=high)
        table = pd.concat([table, rows], ignore_index=True)
    return table


def oracle_curves(evidence: Evidence) -> pd.DataFrame:
    """The best possible allocation of each task of record, at every capacity; columns as `curve_table`.

    See `oracle_allocation` for what it is optimal for. A Fréchet distance has none.
    """
    grid = evidence.task_grid()
    parts = [
        curve_table(grid, oracle_allocation(grid, task), [task], evidence.base_tokens, evidence.how)
        for task in evidence.task_columns()
    ]
    return pd.concat(parts, ignore_index=True)


def realised_gains(evidence: Evidence) -> pd.DataFrame:
    """How much of what tokens can do for a task each criterion of record realises; see `realised_table`."""
    return realised_table(evidence.task_grid(), evidence.criterion_columns(), evidence.task_columns(), evidence.how)
