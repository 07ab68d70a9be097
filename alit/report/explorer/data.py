"""What the explorer shows, computed beforehand: the page's script looks numbers up and computes none.

Every number is the sweep table's own, or comes from the functions that the studies draw their figures with.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.grid import SweepGrid, complexity_measures, criterion_label, metric_info
from alit.analysis.numbers import format_estimate, format_number
from alit.analysis.selection import (
    Allocation,
    BootstrapConfig,
    CurveSamples,
    allocate_by_threshold,
    at_tokens,
    covering_thresholds,
    criterion_on,
    sample_curve,
    uniform_allocation,
)
from alit.analysis.study_data import StudyData
from alit.errors import DataError
from alit.studies.tsc_toi.tables import UNIFORM, shown_tasks, task_curve, task_curves

STOPS = 24  # thresholds that cover every capacity, beside those of the profile
SCORES = ("l1", "psnr", "ssim", "bits")  # shown of every image, before those that criteria and tasks use


class Series(NamedTuple):
    """A mean over all images at each of t thresholds, with its interval, as numbers and in words."""

    value: list[float]
    low: list[float]
    high: list[float]
    text: list[str]


class TaskSeries(NamedTuple):
    """A task under a criterion, and with the same length for all at the same cost."""

    column: str
    label: str
    title: str  # the label, and which way is better
    selected: Series
    same_cost: Series


class CriterionSeries(NamedTuple):
    """A criterion at each of its t thresholds, the strictest first."""

    column: str
    label: str
    thresholds: list[str]
    start: int  # the threshold whose mean length lies nearest the middle
    capacity: Series
    satisfied: Series  # share of the images
    satisfied_same_cost: Series
    tasks: list[TaskSeries]
    stops: list[list[int]]  # (t, images shown) place of the selected length
    met: list[list[int]]  # (t, images shown) 1 where that length satisfies, 0 where none does


class ShownImage(NamedTuple):
    """An image that can be looked at."""

    image_id: str
    measures: dict[str, float]  # column -> value, see `complexity_measures`
    losses: list[float]  # L1 at every length
    scores: list[list[str]]  # (l, columns) in words


class UniformCurve(NamedTuple):
    """A task with the same length for all images, at each of the l lengths."""

    capacity: list[float]
    series: Series


class ExplorerData(NamedTuple):
    """All that the page shows, but for the pictures."""

    dataset: str
    images_in_all: int
    base_tokens: int
    confidence: float
    lengths: list[int]
    score_labels: list[str]
    measures: dict[str, str]  # column -> label, what lengths are drawn against
    shown: list[ShownImage]
    criteria: list[CriterionSeries]
    uniform: dict[str, UniformCurve]  # by the task's column

    def to_json(self) -> dict[str, Any]:
        """Return nested dictionaries and lists."""
        return _plain(self)


def explorer_data(data: StudyData, image_ids: Sequence[str]) -> ExplorerData:
    """Compute the explorer of a sweep.

    Means are over all images of the in-distribution set that have a score in every criterion and task, as in the study
    of criteria and tasks; of those, `image_ids` can be looked at.

    Raises:
        DataError: none of `image_ids` is among them.
    """
    grid, tasks = data.task_grid(), shown_tasks(data)
    places = {str(name): place for place, name in enumerate(grid.images["image_id"])}
    rows = np.array([places[name] for name in image_ids if name in places], dtype=np.int64)
    if not len(rows):
        raise DataError(
            f"expected thumbnails of images of {data.dataset} that the sweep has scores of, found none; "
            "run: dvc repro thumbnails"
        )
    uniform = {task: task_curve(data, grid, UNIFORM, task) for task in tasks}
    columns = _known(grid, [*SCORES, *data.criterion_columns(), *data.task_columns()])
    measures = complexity_measures(grid.subset(rows))
    return ExplorerData(
        dataset=data.dataset,
        images_in_all=len(grid),
        base_tokens=data.base_tokens,
        confidence=data.settings.confidence,
        lengths=grid.lengths.tolist(),
        score_labels=[_with_arrow(column) for column in columns],
        measures=measures,
        shown=[_shown_image(grid, row, columns, list(measures)) for row in rows],
        criteria=[
            _criterion_series(data, grid, rows, criterion.column, thresholds, uniform)
            for criterion, thresholds in data.criteria()
        ],
        uniform={task: _uniform_curve(data, samples) for task, samples in uniform.items()},
    )


def slider_thresholds(grid: SweepGrid, column: str, configured: Sequence[float]) -> np.ndarray:
    """Return thresholds for a slider, the strictest first: the profile's own, and others that cover every capacity.

    They are rounded to the three digits that the page writes, so that what it writes is what was selected by.
    """
    found = [*covering_thresholds(grid, column, STOPS), *configured]
    rounded = np.unique([float(f"{value:.3g}") for value in found])
    return rounded if criterion_on(column).direction == "below" else rounded[::-1]


def _criterion_series(
    data: StudyData,
    grid: SweepGrid,
    rows: np.ndarray,
    column: str,
    configured: Sequence[float],
    uniform: Mapping[str, CurveSamples],
) -> CriterionSeries:
    allocation = allocate_by_threshold(grid, criterion_on(column), slider_thresholds(grid, column, configured))
    spent = sample_curve(grid, allocation, "l1", data.bootstrap).tokens
    curves = task_curves(data, grid, allocation, list(uniform))
    any_task = curves.loc[curves["toi"] == curves["toi"].iat[0]]
    means = spent[0]
    tasks = [
        TaskSeries(
            task,
            metric_info(task).label,
            _with_arrow(task),
            _series_of_rows(curves.loc[curves["toi"] == task]),
            _series(at_tokens(samples, spent), data.bootstrap),
        )
        for task, samples in uniform.items()
    ]
    return CriterionSeries(
        column=column,
        label=criterion_label(column),
        thresholds=[format_number(float(value)) for value in allocation.thresholds],
        start=int(np.abs(means - (grid.lengths[0] + grid.lengths[-1]) / 2).argmin()),
        capacity=_series_of_rows(any_task, "capacity", "capacity_low", "capacity_high", percent=True),
        satisfied=_series(_share(allocation.satisfied, data.bootstrap), data.bootstrap, percent=True),
        satisfied_same_cost=_series(_satisfied_uniform(grid, allocation, spent, data.bootstrap), data.bootstrap, True),
        tasks=tasks,
        stops=allocation.positions[rows].T.tolist(),
        met=allocation.satisfied[rows].T.astype(int).tolist(),
    )


def _uniform_curve(data: StudyData, samples: CurveSamples) -> UniformCurve:
    return UniformCurve((samples.tokens[0] / data.base_tokens).tolist(), _series(samples.values, data.bootstrap))


def _share(satisfied: np.ndarray, bootstrap: BootstrapConfig) -> np.ndarray:
    return resampled_means(satisfied.astype(np.float64), bootstrap.resamples, bootstrap.seed)


def _satisfied_uniform(
    grid: SweepGrid, allocation: Allocation, spent: np.ndarray, bootstrap: BootstrapConfig
) -> np.ndarray:
    """Return (1 + r, t) shares of images that satisfy each threshold with the same length for all at the same cost."""
    scores, lengths = grid.score(allocation.name), uniform_allocation(grid)
    below = criterion_on(allocation.name).direction == "below"
    tokens = np.broadcast_to(lengths.thresholds, (len(spent), len(grid.lengths)))
    shares = []
    for column, threshold in enumerate(allocation.thresholds):
        satisfied = scores < threshold if below else scores > threshold
        curve = CurveSamples(tokens, _share(satisfied, bootstrap))
        shares.append(at_tokens(curve, spent[:, column]))
    return np.stack(shares, axis=1)


def _series(samples: np.ndarray, bootstrap: BootstrapConfig, percent: bool = False) -> Series:
    low, high = interval(samples, bootstrap.confidence)
    table = pd.DataFrame({"value": samples[0], "low": low, "high": high})
    return _series_of_rows(table, percent=percent)


def _series_of_rows(
    rows: pd.DataFrame, value: str = "value", low: str = "low", high: str = "high", percent: bool = False
) -> Series:
    numbers = rows[[value, low, high]].to_numpy(dtype=np.float64)
    write = _percent if percent else format_estimate
    rounded = [[float(f"{number:.5g}") for number in column] for column in numbers.T]
    words = [write(*row).replace(", ", ",\u00a0") for row in numbers.tolist()]  # no line breaks inside an interval
    return Series(*rounded, text=words)


def _percent(value: float, low: float, high: float) -> str:
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"


def _shown_image(grid: SweepGrid, row: int, columns: Sequence[str], measures: Sequence[str]) -> ShownImage:
    scores = np.stack([grid.score(column)[row] for column in columns], axis=1)  # l columns
    return ShownImage(
        image_id=str(grid.images["image_id"].iloc[row]),
        measures={name: float(f"{grid.per_image(name)[row]:.4g}") for name in measures},
        losses=[float(f"{value:.5g}") for value in grid.score("l1")[row]],
        scores=[[format_number(float(value)) for value in line] for line in scores],
    )


def _known(grid: SweepGrid, columns: Sequence[str]) -> list[str]:
    """Return the columns that hold a value, each once."""
    found = dict.fromkeys(column for column in columns if column in grid.scores)
    return [column for column in found if np.isfinite(grid.score(column)).any()]


def _with_arrow(column: str) -> str:
    metric = metric_info(column)
    return f"{metric.label} {'↓' if metric.better == 'lower' else '↑'}"


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
