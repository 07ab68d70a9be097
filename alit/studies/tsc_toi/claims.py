"""C5, C6 and C7: which tokens a task needs, and what choosing them by another task costs.

The claims are decided on the paper's criteria (L1, class, depth) and tasks (classification, depth, Fréchet distance);
perceptual distance and captions are reported for comparison.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from alit.analysis.claims import NEAR_MAXIMUM, Claim, Measurement, Statement, measured
from alit.analysis.grid import SweepGrid, metric_info
from alit.analysis.selection import CurveSamples, at_tokens, mean_advantage, own_column, tokens_to_reach
from alit.analysis.study_data import StudyData
from alit.studies.tsc_toi.tables import (
    frechet_curve,
    improvement,
    improves,
    no_improvement,
    oracle_gap_closed,
    task_curve,
    uniform_oracle_bounds,
)

ABOUT_SIXTY = 0.65
COMPARED_AT = 0.40
SIMILAR = 0.10

C5 = Statement(
    id="C5",
    sentence="About 60 % of the maximum tokens, chosen by L1, reach near-maximum performance on every task.",
    source="sec. 4, Fig. 6",
    paper="about 60 % suffices for classification, depth and FID",
    criterion=f"with lengths selected by L1 < threshold, {NEAR_MAXIMUM:.0%} of a task's improvement from the shortest "
    f"to the longest length is reached below {ABOUT_SIXTY:.0%} of the maximum tokens, for each task that improves",
)
C6 = Statement(
    id="C6",
    sentence="For given tokens a task does best when they are chosen by that task, and classification needs fewer "
    "tokens than depth.",
    source="sec. 4, Fig. 5, 6, 14, 15",
    paper="best top-1 accuracy where TSC and TOI are both classification; depth needs more tokens",
    criterion="the mean advantage of TSC = TOI over each other TSC of the paper (L1, class, depth) at equal tokens, as "
    f"a share of the task's improvement, is above 0; and {NEAR_MAXIMUM:.0%} of its improvement takes depth more tokens "
    "(by L1) than accuracy",
)
C7 = Statement(
    id="C7",
    sentence="Different selection criteria at the same capacity give similar performance on a third task.",
    source="sec. 4, Fig. 14, 15",
    paper="accuracy under TSC = depth and TSC = L1 lies close together",
    criterion=f"at {COMPARED_AT:.0%} of the maximum tokens the spread of a task over the paper's criteria (L1, class, "
    f"depth) that are not its own, as a share of the task's improvement, is below {SIMILAR:.0%}",
)


def sixty_percent_is_enough(data: StudyData) -> Claim:
    """C5: the share of the maximum tokens, selected by L1, that each task needs for near-maximum performance."""
    grid = data.task_grid()
    parts, missing = [], []
    for task in data.task_columns():
        curve = task_curve(data, grid, "l1", task)
        if improves(data, curve, task):
            parts.append(_needed(data, grid, task, curve))
        elif task in _paper_tasks(data):
            missing.append(no_improvement(task))
    task = f"frechet_{data.settings.feature_extractor}"
    curve = frechet_curve(data, grid, "l1")
    if curve is None:
        missing.append(f"{metric_info(task).label} cannot be measured without its features and untouched images")
    elif improves(data, curve, task):
        parts.append(_needed(data, grid, task, curve))
    else:
        missing.append(no_improvement(task))
    decided = any(part.bound is not None for part in parts)
    return C5.judge(parts, missing if decided else [*missing, "no task of the paper improves with more tokens"])


def own_criterion_is_best(data: StudyData) -> Claim:
    """C6: area between the curves of TSC = TOI and of each other TSC, and the tokens that two tasks need."""
    grid, confidence = data.task_grid(), data.bootstrap.confidence
    parts, missing, needed = [], [], {}
    for task in data.task_columns():
        curves = {name: task_curve(data, grid, name, task) for name in data.criterion_columns()}
        if improves(data, curves["l1"], task):
            needed[task] = tokens_to_reach(curves["l1"], NEAR_MAXIMUM) / grid.longest
            parts += _advantages(data, grid, task, curves)
        elif task in _paper_tasks(data):
            missing.append(no_improvement(task))
    if data.depth_column in needed and data.accuracy_column in needed:
        more = needed[data.depth_column] - needed[data.accuracy_column]
        words = "share of the maximum tokens that depth needs beyond accuracy, lengths selected by L1"
        parts.append(measured("depth_beyond_accuracy", words, more, confidence, len(grid), bound=0.0))
    else:
        missing.append("classification and depth cannot both be measured")
    return C6.judge(parts, missing)


def criteria_agree_on_a_third_task(data: StudyData) -> Claim:
    """C7: spread of each task over the criteria of other tasks at equal tokens."""
    grid = data.task_grid()
    parts, missing = [], []
    for task in _paper_tasks(data):
        others = [name for name in _paper_criteria(data) if name != own_column(task)]
        if len(others) < 2:
            missing.append(f"{metric_info(task).label} has only {len(others)} criterion of other tasks")
            continue
        curves = [task_curve(data, grid, name, task) for name in others]
        if not improves(data, curves[0], task):
            missing.append(no_improvement(task))
            continue
        spread = _spread(curves, grid, task)
        if not np.isfinite(spread).all():
            missing.append(f"not every criterion spends {COMPARED_AT:.0%} of the tokens for {metric_info(task).label}")
            continue
        parts.append(_similar(data, grid, task, others, spread))
    frechet = _frechet_spread(data, grid, _paper_criteria(data))
    parts += [frechet] if frechet else []
    # Any one third task answers the claim; those that cannot be measured are missing only when none can.
    return C7.judge([*parts, *_wider_spreads(data, grid)], [] if parts else missing or ["no third task"])


def _paper_tasks(data: StudyData) -> tuple[str, ...]:
    return data.measured(data.accuracy_column, data.depth_column)


def _paper_criteria(data: StudyData) -> tuple[str, ...]:
    return data.measured("l1", data.rank_column, data.depth_column)


def _needed(data: StudyData, grid: SweepGrid, task: str, curve: CurveSamples) -> Measurement:
    needed = tokens_to_reach(curve, NEAR_MAXIMUM) / grid.longest
    words = f"share of the maximum tokens at which {metric_info(task).label} is near its maximum, {data.dataset}"
    decides = task.startswith("frechet_") or task in _paper_tasks(data)
    bound = ABOUT_SIXTY if decides else None
    return measured(f"tokens_for_{task}", words, needed, data.bootstrap.confidence, len(grid), bound, "below")


def _advantages(data: StudyData, grid: SweepGrid, task: str, curves: Mapping[str, CurveSamples]) -> list[Measurement]:
    """Compare a task's own criterion with each other one, and with the best that choosing tokens can do."""
    own, label, confidence = own_column(task), metric_info(task).label, data.bootstrap.confidence
    gain, parts = improvement(curves["l1"], task), []
    for name in (name for name in curves if name != own):
        advantage = _share(metric_info(task).sign * mean_advantage(curves[own], curves[name]), gain)
        words = f"mean advantage in {label} of its own criterion over {name}, share of improvement"
        decides = task in _paper_tasks(data) and name in _paper_criteria(data)
        bound = 0.0 if decides else None
        parts.append(measured(f"{task}_over_{name}", words, advantage, confidence, len(grid), bound))
    within = uniform_oracle_bounds(grid, task, data.bootstrap)
    if (within.possible > 0).all():
        words = f"share of the possible gain in {label} over the same length for all that its own criterion realizes"
        share = oracle_gap_closed(curves[own], task, within)
        parts.append(measured(f"{task}_of_possible", words, share, confidence, len(grid)))
    return parts


def _spread(curves: Sequence[CurveSamples], grid: SweepGrid, task: str) -> np.ndarray:
    """Return (1 + r,) largest minus smallest value of a task over curves, as a share of its improvement."""
    values = np.stack([at_tokens(curve, COMPARED_AT * grid.longest) for curve in curves])
    return _share(np.ptp(values, axis=0), improvement(curves[0], task))


def _similar(data: StudyData, grid: SweepGrid, task: str, criteria: Iterable[str], spread: np.ndarray) -> Measurement:
    words = f"spread of {metric_info(task).label} over {', '.join(criteria)} at equal tokens, share of improvement"
    return measured(f"spread_of_{task}", words, spread, data.bootstrap.confidence, len(grid), SIMILAR, "below")


def _frechet_spread(data: StudyData, grid: SweepGrid, criteria: tuple[str, ...]) -> Measurement | None:
    task = f"frechet_{data.settings.feature_extractor}"
    target = COMPARED_AT * grid.longest
    drawn = [frechet_curve(data, grid, name, near=target) for name in criteria]
    curves = [curve for curve in drawn if curve is not None]
    if len(curves) < 2 or not improves(data, curves[0], task):
        return None
    spread = _spread(curves, grid, task)
    return _similar(data, grid, task, criteria, spread) if np.isfinite(spread).all() else None


def _wider_spreads(data: StudyData, grid: SweepGrid) -> list[Measurement]:
    """Return the spread of every task over all criteria but its own, where that is more than the paper's."""
    parts = []
    for task in data.task_columns():
        others = [name for name in data.criterion_columns() if name != own_column(task)]
        if task in _paper_tasks(data) and set(others) <= set(_paper_criteria(data)):
            continue
        curves = [task_curve(data, grid, name, task) for name in others]
        if len(curves) > 1 and improves(data, curves[0], task):
            words = (
                f"spread of {metric_info(task).label} over {', '.join(others)} at equal tokens, share of improvement"
            )
            spread = _spread(curves, grid, task)
            parts.append(measured(f"wide_spread_of_{task}", words, spread, data.bootstrap.confidence, len(grid)))
    return parts


def _share(values: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return values (1 + r,) as shares of an improvement, not a number in resamples that have none."""
    return np.divide(values, gain, out=np.full_like(gain, np.nan), where=gain != 0)


CLAIMS = {"C5": sixty_percent_is_enough, "C6": own_criterion_is_best, "C7": criteria_agree_on_a_third_task}
