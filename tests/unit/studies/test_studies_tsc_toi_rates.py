"""How often C5 to C8 see an effect in tables that have none: no more often than their intervals say."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_tables import LENGTHS, SETTINGS, synthetic_study_data

from alit.analysis.bootstrap import estimate
from alit.analysis.grid import SweepGrid
from alit.analysis.selection import at_tokens
from alit.analysis.study_data import StudyData
from alit.studies.strength.tables import model_comparisons, performances
from alit.studies.tsc_toi.tables import UNIFORM, advantage, better_by, task_curve

TABLES, IMAGES = 300, 150
SHARES = np.array([0.0, *LENGTHS]) / LENGTHS[-1]  # the untouched image first
SETTING = SETTINGS.model_copy(update={"resamples": 200, "captioners": (), "depth_models": ("depth",)})


def null_data(seed: int) -> StudyData:
    """Return a table in which every task improves alike with each token, for all images, whatever the criteria say.

    So many tokens are then worth as much however they are spread over the images, and no criterion knows anything.
    """
    generator = np.random.default_rng(seed)
    draw = partial(generator.uniform, size=(IMAGES, 1))
    depth = 0.5 - 0.3 * SHARES + 0.1 * draw() + 0.02 * generator.normal(size=(IMAGES, len(SHARES)))
    values = {
        "l1": 0.3 * draw() + 0.2 - 0.1 * SHARES,
        "perceptual_net": draw() + 1 - 0.5 * SHARES,
        "depth_error_depth": depth,
        # Both are right as often, and about different images.
        "class_rank_weak": 3.0 * (draw() > 0.2 + 0.6 * SHARES),
        "class_rank_strong": 3.0 * (draw() > 0.2 + 0.6 * SHARES),
    }
    clean = {"class_rank_weak": 3.0 * (draw() > 0.6), "class_rank_strong": 3.0 * (draw() > 0.8)}
    for name, ranks in clean.items():
        values[name][:, :1] = ranks
    rows = len(SHARES)
    frame = {
        "dataset": "val",
        "split": "val",
        "image_id": np.repeat([f"{number:04d}" for number in range(IMAGES)], rows),
        "label": np.repeat(np.arange(IMAGES) % 10, rows),
        "length": np.tile([0, *LENGTHS], IMAGES),
    }
    table = pd.DataFrame(frame | {name: each.ravel() for name, each in values.items()})
    return synthetic_study_data(table, SETTING, features=False)


def depth_at(data: StudyData, grid: SweepGrid, criterion: str, share: float) -> np.ndarray:
    tokens = share * grid.longest
    return at_tokens(task_curve(data, grid, criterion, "depth_error_depth", tokens), tokens)


def lead_over_uniform(data: StudyData, grid: SweepGrid) -> np.ndarray:
    tokens = 0.6 * grid.longest
    chosen, uniform = (
        at_tokens(task_curve(data, grid, name, "depth_error_depth", tokens), tokens) for name in ("l1", UNIFORM)
    )
    return better_by(chosen, uniform, "depth_error_depth", uniform)


def difference_of_criteria(data: StudyData, grid: SweepGrid) -> np.ndarray:
    one, other = (depth_at(data, grid, name, 0.4) for name in ("l1", "perceptual_net"))
    return better_by(one, other, "depth_error_depth", (one + other) / 2)


def crossed_advantage(over: str, data: StudyData, grid: SweepGrid) -> np.ndarray:
    return advantage(data, grid, partial(task_curve, data, grid), "class_rank_weak", "top1_strong", over)


def graded_advantage(data: StudyData, grid: SweepGrid) -> np.ndarray:
    return advantage(data, grid, partial(task_curve, data, grid), "perceptual_net", "depth_error_depth", "l1")


STATISTICS = {
    "C5 lead": lead_over_uniform,
    "C6 crossed, over L1": partial(crossed_advantage, "l1"),
    "C6 crossed, over the same length for all": partial(crossed_advantage, UNIFORM),
    "C6 graded": graded_advantage,
    "C7 difference": difference_of_criteria,
}


def seen(statistic: Callable[[StudyData, SweepGrid], np.ndarray]) -> tuple[int, int]:
    """Return in how many tables the interval lies above 0, and below."""
    found = []
    for seed in range(TABLES):
        data = null_data(seed)
        found.append(estimate(statistic(data, data.task_grid()), 0.95))
    return sum(each.low > 0 for each in found), sum(each.high < 0 for each in found)


def most_by_chance(rate: float) -> int:
    return int(stats.binom.ppf(0.999, TABLES, rate))


@pytest.mark.slow
@pytest.mark.parametrize("name", STATISTICS)
def test_an_effect_is_seen_no_more_often_than_the_interval_says(name):
    assert max(seen(STATISTICS[name])) <= most_by_chance(0.025)


def gap_of_strong_and_weak(data: StudyData, grid: SweepGrid) -> np.ndarray:
    (classification,) = model_comparisons(data)
    weak, strong = performances(classification, data.bootstrap)
    return strong.gap[:, 0] - weak.gap[:, 0] - 0.2  # of 0.6 and 0.8 on untouched images, both fall to 0.275


@pytest.mark.slow
def test_a_gap_is_seen_to_differ_from_the_true_one_no_more_often_than_the_interval_says():
    assert max(seen(gap_of_strong_and_weak)) <= most_by_chance(0.025)
