"""The oracle allocation is what it says: no allocation of as many tokens does better."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strength_tables import with_model_pairs
from synthetic_tables import Effects, synthetic_table

from alit.analysis.grid import to_grid
from alit.analysis.selection import (
    BootstrapConfig,
    covering_allocation,
    own_column,
    picked,
    sample_curve,
    uniform_allocation,
)
from alit.studies.tsc_toi.tables import (
    hull_corners,
    oracle_allocation,
    oracle_gap_closed,
    oracle_gap_table,
    uniform_oracle_bounds,
)

HOW = BootstrapConfig(resamples=50, confidence=0.95, seed=0)
LENGTHS = (2, 4, 8, 16)


def grid_of(scores: np.ndarray, column: str = "depth_error_net"):
    """Return the grid of images whose `column` is `scores` (images, lengths)."""
    images, lengths = scores.shape
    rows = [(f"{image:02d}", LENGTHS[place]) for image in range(images) for place in range(lengths)]
    table = pd.DataFrame(rows, columns=["image_id", "length"])
    return to_grid(table.assign(dataset="val", split="val", l1=0.1, **{column: scores.ravel()}))


def best_totals(scores: np.ndarray) -> dict[int, float]:
    """Return the least total loss for each number of tokens that some allocation spends, by trying all."""
    best: dict[int, float] = {}
    for choice in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        tokens = sum(LENGTHS[place] for place in choice)
        total = sum(scores[row, place] for row, place in enumerate(choice))
        best[tokens] = min(total, best.get(tokens, np.inf))
    return best


def random_scores(seed: int, images: int, ties: bool) -> np.ndarray:
    scores = np.random.default_rng(seed).random((images, len(LENGTHS)))
    return np.round(3 * scores) if ties else scores


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 4), ties=st.booleans())
def test_no_allocation_of_at_most_as_many_tokens_is_better(seed, images, ties):
    scores = random_scores(seed, images, ties)
    grid, best = grid_of(scores), best_totals(scores)
    allocation = oracle_allocation(grid, "depth_error_net")
    for place in range(len(allocation.thresholds)):
        tokens = grid.lengths[allocation.positions[:, place]].sum()
        total = picked(grid, allocation, "depth_error_net")[:, place].sum()
        assert total == pytest.approx(min(value for spent, value in best.items() if spent <= tokens))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 4), ties=st.booleans())
def test_between_two_points_no_allocation_lies_above_the_line(seed, images, ties):
    scores = random_scores(seed, images, ties)
    grid = grid_of(scores)
    oracle = uniform_oracle_bounds(grid, "depth_error_net", HOW).oracle
    tokens, values = oracle.tokens[0] * images, oracle.values[0] * images
    for spent, total in best_totals(scores).items():
        assert total >= np.interp(spent, tokens, values) - 1e-9


def test_it_spends_from_the_shortest_for_all_to_where_nothing_is_gained():
    scores = np.array([[3.0, 2.0, 2.5, 2.0], [1.0, 1.0, 1.0, 1.0]])
    allocation = oracle_allocation(grid_of(scores), "depth_error_net")
    assert allocation.positions.T.tolist() == [[0, 0], [1, 0]]
    assert np.isinf(allocation.thresholds[0])


def test_where_tokens_bring_nothing_the_shortest_length_is_all_there_is():
    allocation = oracle_allocation(grid_of(np.ones((3, 4))), "depth_error_net")
    assert allocation.positions.tolist() == [[0], [0], [0]]


def test_a_score_that_is_better_when_higher_is_raised():
    scores = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    allocation = oracle_allocation(grid_of(scores, "caption_score_net"), "caption_score_net")
    assert picked(grid_of(scores, "caption_score_net"), allocation, "caption_score_net")[:, -1].tolist() == [1, 1]
    assert allocation.positions.T.tolist() == [[0, 0], [1, 0], [1, 2]]


def test_corners_lose_ever_less_per_token():
    corners = hull_corners(grid_of(random_scores(0, 30, ties=False)), "depth_error_net")
    assert (np.diff(corners.gains, axis=1) <= 1e-12).all()
    assert (np.diff(corners.positions, axis=1) >= 0).all()


def test_few_thresholds_lie_on_the_curve_of_all():
    grid = to_grid(synthetic_table(100, ("val",)))
    every = uniform_oracle_bounds(grid, "l1", HOW).oracle
    few = sample_curve(grid, oracle_allocation(grid, "l1", count=10_000), "l1", HOW)
    assert len(few.tokens[0]) > len(every.tokens[0])
    assert np.interp(every.tokens[0][:-1], few.tokens[0], few.values[0]) == pytest.approx(every.values[0][:-1])


@pytest.fixture(scope="module")
def grid():
    return to_grid(synthetic_table(200, ("val",), Effects(class_rate=10, class_spread=0.6)))


@pytest.mark.parametrize("task", ["top1_strong", "depth_error_depth", "l1"])
def test_the_uniform_allocation_realizes_nothing_and_the_oracle_everything(grid, task):
    within = uniform_oracle_bounds(grid, task, HOW)
    assert (within.possible > 0).all()
    assert oracle_gap_closed(within.oracle, task, within) == pytest.approx(1)
    uniform = sample_curve(grid, uniform_allocation(grid), task, HOW)
    assert oracle_gap_closed(uniform, task, within) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("task", ["top1_strong", "depth_error_depth", "l1"])
def test_no_criterion_does_better_than_the_oracle(grid, task):
    table = oracle_gap_table(grid, ("l1", "class_rank_strong", "depth_error_depth"), (task,), HOW)
    assert len(table) == 3
    assert (table["value"] <= 1).all()
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert table.loc[table["own"], "tsc"].tolist() == [own_column(task)]


def test_a_task_without_anything_to_gain_has_no_rows(grid):
    flat = type(grid)(
        grid.images,
        grid.lengths,
        {**grid.scores, "depth_error_flat": np.ones_like(grid.score("l1"))},
        grid.clean,
        grid.rows,
        grid.clean_rows,
    )
    assert oracle_gap_table(flat, ("l1",), ("depth_error_flat",), HOW).empty


def test_every_criterion_is_measured_on_every_task():
    grid = to_grid(with_model_pairs(synthetic_table(60, ("val",))))
    criteria = ("l1", "class_rank_strong", "depth_error_depth", "perceptual_net", "caption_score_wordy")
    tasks = ("top1_strong", "depth_error_depth", "perceptual_net", "caption_score_wordy")
    gains = oracle_gap_table(grid, criteria, tasks, HOW)
    assert set(zip(gains["tsc"], gains["toi"], strict=True)) == set(itertools.product(criteria, tasks))


@pytest.mark.parametrize("column", ["l1", "caption_score_wordy", "ssim"])
def test_thresholds_cover_every_capacity_whichever_way_a_score_runs(column):
    grid = to_grid(with_model_pairs(synthetic_table(50, ("val",))))
    allocation = covering_allocation(grid, column)
    tokens = grid.lengths[allocation.positions].mean(axis=0)
    assert tokens[0] == grid.lengths[-1]
    assert tokens[-1] == grid.lengths[0]
    assert (np.diff(tokens) <= 0).all()
