"""C8: stronger task models lose more at few tokens."""

from collections.abc import Callable
from functools import partial

import numpy as np

from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.instruments import knows_untouched_images, sees_depth
from alit.analysis.measurements import Gate, Measurement, gate, measured, pooled
from alit.analysis.study_data import StudyData
from alit.studies.strength.tables import ModelComparison, Performance, model_comparisons, model_pairs, performances

# One point of an accuracy of 50 %, on each of the three scales: no reader of Fig. 7's colors sees less.
ONE_POINT, ONE_POINT_OF_HALF, ONE_POINT_IN_LOG_ODDS = 0.01, 0.02, 0.04
LEAST_LOSS = 0.10  # of its own performance, that the stronger model must lose for losses to be compared

C8 = Statement(
    id="C8",
    sentence="Stronger task models lose more at few tokens than weaker ones.",
    source="sec. 4, Fig. 7",
    paper="the gap to the original at few tokens is large for strong models and small for AlexNet",
    criterion="at the shortest length the gap of the strongest model to its performance on untouched images is larger "
    "than that of the weakest, in the task's own units as in the paper, for each task",
    control="Has the stronger one only more to lose? The loss is larger also as a share of its own performance and, "
    "for accuracies and scores from 0 to 1, in log-odds",
    margins=f"one point of an accuracy of 50 %: {ONE_POINT} of the task's units, {ONE_POINT_OF_HALF} of the own "
    f"performance, {ONE_POINT_IN_LOG_ODDS} in log-odds",
)


@assesses(C8)
def stronger_models_lose_more(data: StudyData) -> Claim:
    """C8: difference of the losses of the strongest and the weakest model of each task, paired over images."""
    parts, gates, missing, gaps = [], [], [], {}
    decided = {each.task: each for each in model_comparisons(data) if each.against == "truth"}
    for task, models in model_pairs(data).items():
        if task not in decided:
            missing.append(f"there is no truth for {task} to measure the strength of {' and '.join(models)} by")
            continue
        weak, *_, strong = performances(decided[task], data.bootstrap)
        gates += _gates(data, decided[task], weak, strong)
        parts += _compare(data, decided[task], weak, strong)
        gaps[task] = strong.gap[:, 0] - weak.gap[:, 0]
    used = {
        task: gap
        for task, gap in gaps.items()
        if all(each.passes or not each.guards_measurement(f"{task}_gap") for each in gates)
    }
    missing = missing or ([] if parts else ["no task has a weak and a strong model here"])
    head = _headline(data, used) if used else None
    return C8.judge(parts, missing, missing_control=missing, gates=gates, headline=head)


def _headline(data: StudyData, gaps: dict[str, np.ndarray]) -> Measurement:
    images = len(data.grid.dataset(data.dataset))
    words = f"how much larger the gap of the strongest model is at the shortest length, mean over {', '.join(gaps)}"
    return measured("gap", words, pooled(*gaps.values()), data.bootstrap.confidence, images)


def _gates(data: StudyData, comparison: ModelComparison, weak: Performance, strong: Performance) -> list[Gate]:
    """Ask whether the strongest model is the better one, knows its images, and has something to lose and to keep."""
    task, (weakest, *_, strongest) = comparison.task, comparison.models
    guards, length = (f"{task}_",), int(comparison.grid.lengths[0])
    make = partial(gate, confidence=data.bootstrap.confidence, guards=guards)
    lead = strong.sign * (strong.clean - weak.clean)
    gates = [
        make(f"stronger_{task}", f"lead of {strongest} over {weakest} in {task} on untouched images", lead, bound=0.0),
        make(
            f"range_of_{task}",
            f"loss of {strongest} in {task} with {length} tokens, share of its performance on untouched images",
            strong.drop[:, 0],
            bound=LEAST_LOSS,
        ),
    ]
    if task == "classification":
        gates += knows_untouched_images(data, comparison.columns[-1], guards)
    if task == "depth":
        gates += sees_depth(data, strongest, guards)
    if strong.sign > 0:
        better, name = max(((each, name) for each, name in ((weak, weakest), (strong, strongest))), key=_left)
        words = f"performance of {name} in {task} with {length} tokens"
        gates.append(make(f"left_of_{task}", words, better.values[:, 0], bound=comparison.chance))
    return gates


def _left(model: tuple[Performance, str]) -> float:
    return float(model[0].values[0, 0])


def _compare(data: StudyData, comparison: ModelComparison, weak: Performance, strong: Performance) -> list[Measurement]:
    task, images, length = comparison.task, len(comparison.grid), int(comparison.grid.lengths[0])
    report = partial(measured, confidence=data.bootstrap.confidence, images=images)
    names = f"{comparison.models[-1]} minus {comparison.models[0]}"
    at, gap = f"with {length} tokens, {names}, {data.dataset}", strong.gap - weak.gap
    share = strong.drop[:, 0] - weak.drop[:, 0]
    control = partial(report, bound=0.0, column="control")
    lead = (strong.sign * (strong.clean - weak.clean))[:, None] - gap
    parts = [
        report(f"{task}_gap", f"gap in {task} in its own units {at}", gap[:, 0], bound=0.0, margin=ONE_POINT),
        control(
            f"{task}_share", f"loss in {task}, share of its own performance, {at}", share, margin=ONE_POINT_OF_HALF
        ),
        report(f"{task}_lead", f"lead in {task} on untouched images, {names}", lead[:, 0] + gap[:, 0]),
        report(f"{task}_lead_few", f"lead in {task} {at}", lead[:, 0]),
        report(f"{task}_lead_mean", f"lead in {task}, mean over lengths, {names}", lead.mean(axis=1)),
    ]
    if strong.sign > 0:
        odds = strong.log_odds_lost(images)[:, 0] - weak.log_odds_lost(images)[:, 0]
        words = f"loss in {task} in log-odds {at}"
        parts.append(control(f"{task}_log_odds", words, odds, margin=ONE_POINT_IN_LOG_ODDS))
    return [*parts, *_among_all_classes(data, comparison, report)]


def _among_all_classes(
    data: StudyData, comparison: ModelComparison, report: Callable[..., Measurement]
) -> list[Measurement]:
    """Return the gap in accuracies among all classes of the networks, where that among the set's classes decides."""
    if comparison.task != "classification" or not any(map(data.accuracy_among_all, comparison.models)):
        return []
    columns = tuple(f"top1_{name}" for name in comparison.models)
    weak, *_, strong = performances(comparison._replace(columns=columns), data.bootstrap)
    words = "gap in classification among all classes of the networks, with the fewest tokens"
    return [report("classification_gap_among_all", words, strong.gap[:, 0] - weak.gap[:, 0])]


CLAIMS = {"C8": stronger_models_lose_more}
