"""Which network chooses lengths where another one of the same task judges them.

A network that chooses by its own scores knows its own mistakes. What is left when another network chooses is what an
image needs. The choice among several others depends on no order and no name: it is the one that does best on untouched
images against the truth.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from alit.analysis.grid import SweepGrid, metric_info
from alit.analysis.instruments import AGREEMENT, sets_for_depth, untouched_scores
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable

# Scores of one task by different networks, the longest prefix first -> the scores of the same networks against the
# truth, the first that is known. A perceptual distance has no truth.
TRUTHS = {
    "top1_in_set_": ("top1_in_set_",),
    "top1_": ("top1_",),
    "depth_true_error_": ("depth_true_error_", AGREEMENT),
    "depth_error_": ("depth_true_error_", AGREEMENT),
    "caption_true_score_": ("caption_true_score_",),
    "caption_score_": ("caption_true_score_",),
    "perceptual_": (),
}
CHOOSER = (
    "the network with the best performance on untouched images against the truth, of those that score the same "
    "task and are not the judge"
)


def other_networks(data: StudyData, task: str) -> tuple[str, ...]:
    """Return the scores of other networks for a task that are known of every in-distribution image that it is known of.

    Args:
        data: the inputs.
        task: score column of the judge.
    """
    prefix = _prefix(task)
    if not prefix or not data.measured(task):
        return ()
    here = data.grid.dataset(data.dataset).complete([task])
    same = [name for name in here.columns(prefix) if _prefix(name) == prefix and name != task]
    return tuple(name for name in same if np.isfinite(here.score(name)).all())


def choosing_network(data: StudyData, task: str) -> str:
    """Return the score of the network that chooses lengths where `task` judges: `CHOOSER`.

    An only other network needs no performance. Of those that do equally well on untouched images it is the one that
    does better on reconstructions in the scores that it chooses by, at the longest length first.

    Args:
        data: the inputs.
        task: score column of the judge.

    Raises:
        NotMeasurable: no other network scores the task, or there is no truth to choose among several by.
    """
    candidates, prefix = other_networks(data, task), _prefix(task)
    if not candidates:
        raise NotMeasurable(f"there is no second network for {metric_info(task).label}")
    if len(candidates) == 1:
        return candidates[0]
    for truth in TRUTHS[prefix]:
        columns = [truth + name.removeprefix(prefix) for name in candidates]
        performance = _performance(data, columns)
        if performance is not None:
            break
    else:
        names = " and ".join(name.removeprefix(prefix) for name in candidates)
        raise NotMeasurable(f"there is no truth to choose among {names} by, for {metric_info(task).label}")
    here = data.grid.dataset(data.dataset).complete(candidates)
    later = [metric_info(name).sign * here.score(name).mean(axis=0)[::-1] for name in candidates]
    return max(zip(performance, map(tuple, later), candidates, strict=True))[-1]


def choosing_networks(data: StudyData, tasks: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return task -> the score of the network that chooses for it, and the reasons why none does for other tasks."""
    known, reasons = {}, []
    for task in tasks:
        try:
            known[task] = choosing_network(data, task)
        except NotMeasurable as reason:
            reasons.append(str(reason))
    return known, reasons


def _prefix(column: str) -> str:
    return next((prefix for prefix in TRUTHS if column.startswith(prefix)), "")


def _performance(data: StudyData, columns: Sequence[str]) -> np.ndarray | None:
    """Return networks' mean scores on untouched images, more is better; None where no set has all of them.

    On the in-distribution set; what is known of depth alone where images were taken to check it, as well on those.
    """
    for grid in _sets(data, columns):
        clean = untouched_scores(grid, columns)
        if len(clean):
            return metric_info(columns[0]).sign * clean.mean(axis=0)
    return None


def _sets(data: StudyData, columns: Sequence[str]) -> list[SweepGrid]:
    return sets_for_depth(data) if columns[0].startswith(AGREEMENT) else [data.grid.dataset(data.dataset)]
