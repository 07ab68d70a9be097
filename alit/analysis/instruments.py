"""What an instrument must show before claims are put to it: that a task's network knows what it judges.

A reconstruction can cost a task nothing because its network never saw anything in the picture. Gates keep such a task
from deciding: `alit.analysis.measurements.Gate`. Where a table holds nothing to check a network by, there is no gate.
"""

from collections.abc import Sequence

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.grid import SweepGrid, metric_info
from alit.analysis.measurements import Gate, gate
from alit.analysis.study_data import StudyData

RIGHT_MORE_OFTEN_THAN_NOT = 0.5  # least accuracy on untouched images: a network that is mostly wrong there is no judge
AGREEMENT = "depth_rank_agreement_"
BLIND = "depth_rank_agreement_blind_"  # of rules that look at no picture


def knows_task(data: StudyData, task: str, guards: Sequence[str]) -> list[Gate]:
    """Return what a task's network must show: see `knows_untouched_images` and `sees_depth`; of other tasks nothing.

    Args:
        data: the inputs.
        task: score column, `top1_<model>` or `top1_in_set_<model>`, or that of the reference depth network.
        guards: beginnings of the names of the measurements that need it.
    """
    if task.startswith("top1_"):
        return knows_untouched_images(data, task, guards)
    return sees_depth(data, data.settings.depth_models[-1], guards) if task == data.depth_column else []


def knows_untouched_images(data: StudyData, accuracy: str, guards: Sequence[str]) -> list[Gate]:
    """Return the gate that a classifier is right on most untouched images of the in-distribution set, where known.

    Args:
        data: the inputs.
        accuracy: its column, `top1_<model>` or `top1_in_set_<model>`.
        guards: beginnings of the names of the measurements that need it.
    """
    clean = untouched_scores(data.grid.dataset(data.dataset), [accuracy])
    if not len(clean):
        return []
    right = resampled_means(clean, data.bootstrap.resamples, data.bootstrap.seed)[:, 0]
    words = f"{metric_info(accuracy).label} on untouched images of {data.dataset}"
    bound = RIGHT_MORE_OFTEN_THAN_NOT
    return [gate(f"knows_{accuracy}", words, right, data.bootstrap.confidence, bound, guards=tuple(guards))]


def sees_depth(data: StudyData, model: str, guards: Sequence[str]) -> list[Gate]:
    """Return the gate that a depth network orders pixels better than each rule that looks at no picture, where known.

    It is asked of untouched images with known depth: of the in-distribution set, else of the first set that only checks
    depth networks, else of the first other set that has any.
    """
    rules = data.grid.columns(BLIND) or (() if data.checks is None else data.checks.columns(BLIND))
    for grid in sets_for_depth(data):
        columns = [AGREEMENT + model, *rules]
        clean = untouched_scores(grid, columns)
        if rules and len(clean):
            means = resampled_means(clean, data.bootstrap.resamples, data.bootstrap.seed)
            lead = means[:, 0] - means[:, 1:].max(axis=1)
            words = (
                f"lead of {model} in rank agreement with known depth over the better rule that looks at no picture, "
                f"on {len(clean)} untouched images of {grid.datasets[0]}"
            )
            return [gate(f"sees_{model}", words, lead, data.bootstrap.confidence, 0.0, guards=tuple(guards))]
    return []


def sets_for_depth(data: StudyData) -> list[SweepGrid]:
    """Return the sets whose depth may be known: the in-distribution one, those that only check networks, the others."""
    checks = [] if data.checks is None else [data.checks.dataset(name) for name in data.checks.datasets]
    others = [data.grid.dataset(name) for name in data.grid.datasets if name != data.dataset]
    return [data.grid.dataset(data.dataset), *checks, *others]


def untouched_scores(grid: SweepGrid, columns: Sequence[str]) -> np.ndarray:
    """Return the scores (n, columns) of untouched images, of those images where all are known."""
    if not set(columns) <= set(grid.clean):
        return np.empty((0, len(columns)))
    scores = np.stack([grid.clean[name] for name in columns], axis=1)
    return scores[np.isfinite(scores).all(axis=1)]
