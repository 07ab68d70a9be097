"""A task along the curve of a criterion, and what tokens do for it at all: the ground of C5, C6 and C7."""

import numpy as np

from alit.analysis.bootstrap import estimate
from alit.analysis.curves import CurveSamples, allocate, covering_thresholds, sample_curve
from alit.analysis.evidence import Evidence
from alit.analysis.grid import ScoreGrid
from alit.analysis.measures import measure
from alit.analysis.selection import criterion_on


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
