import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alit.errors import DataError
from alit.tokenizer.budget import allocate_budget, allocate_budgets, lower_hulls

LENGTHS = (2, 4, 6, 8)


def brute_force(losses, budget):
    """The least total loss over all choices within the budget."""
    choices = itertools.product(range(len(LENGTHS)), repeat=len(losses))
    within = (c for c in choices if sum(LENGTHS[i] for i in c) <= budget)
    return min(sum(losses[i, c[i]] for i in range(len(losses))) for c in within)


def convex_curves(images, seed):
    drops = -np.sort(-np.random.default_rng(seed).random((images, 3)), axis=1)
    return 5 - np.cumsum(np.concatenate([np.zeros((images, 1)), drops], axis=1), axis=1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 4), extra=st.integers(0, 24))
def test_convex_curves_are_allocated_optimally(seed, images, extra):
    losses, budget = convex_curves(images, seed), 2 * images + extra
    chosen = allocate_budget(losses, LENGTHS, budget)
    assert sum(LENGTHS[i] for i in chosen) <= budget
    assert losses[np.arange(images), chosen].sum() == pytest.approx(brute_force(losses, budget))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 4), extra=st.integers(0, 24))
def test_any_curves_come_within_one_hull_segment_of_the_best(seed, images, extra):
    losses = np.random.default_rng(seed).random((images, 4))
    budget = 2 * images + extra
    chosen = allocate_budget(losses, LENGTHS, budget)
    gap = losses[np.arange(images), chosen].sum() - brute_force(losses, budget)
    largest_drop = (losses[:, 0] - losses.min(axis=1)).max()
    assert -1e-9 <= gap <= largest_drop + 1e-9


def test_a_large_budget_gives_every_image_its_lowest_loss_and_no_token_more():
    losses = np.array([[3.0, 2.0, 2.0, 2.5], [1.0, 1.0, 1.0, 1.0]])
    assert allocate_budget(losses, LENGTHS, 100).tolist() == [1, 0]


def test_tokens_go_where_they_lower_the_loss_most():
    losses = np.array([[1.0, 0.9, 0.8, 0.7], [9.0, 5.0, 3.0, 2.0]])
    assert allocate_budget(losses, LENGTHS, 10).tolist() == [0, 3]


def test_a_late_drop_is_reached_across_a_flat_start():
    losses = np.array([[1.0, 1.0, 1.0, 0.0]])
    assert allocate_budget(losses, LENGTHS, 8).tolist() == [3]
    assert allocate_budget(losses, LENGTHS, 7).tolist() == [0]


def test_the_hull_keeps_only_corners_that_descend():
    curves = np.array([[4.0, 3.9, 1.0, 2.0], [4.0, 2.0, 1.0, 0.5], [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    corners = lower_hulls(np.array(LENGTHS), curves)
    assert corners.tolist() == [[0, 2, 2, 2], [0, 1, 2, 3], [0, 0, 0, 0], [0, 3, 3, 3]]  # on a line there is no corner


def test_impossible_budgets_and_losses_are_refused():
    with pytest.raises(DataError, match="at least 2"):
        allocate_budget(np.ones((3, 4)), LENGTHS, 5)
    with pytest.raises(DataError, match="finite"):
        allocate_budget(np.full((1, 4), np.nan), LENGTHS, 8)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 12), ties=st.booleans())
def test_several_budgets_give_what_each_gives_alone(seed, images, ties):
    losses = np.random.default_rng(seed).random((images, 4))
    losses = np.round(3 * losses) if ties else losses
    budgets = [2 * images, 3 * images + 1, 8 * images]
    together = allocate_budgets(losses, LENGTHS, budgets)
    assert together.T.tolist() == [allocate_budget(losses, LENGTHS, each).tolist() for each in budgets]


def test_an_image_whose_next_segment_was_passed_over_gets_none_of_its_later_ones():
    losses = np.array([[9.0, 9.0, 1.0, 0.0], [2.0, 1.9, 1.8, 1.7]])  # the first image: 4 tokens at once, then 2
    assert allocate_budget(losses, LENGTHS, 4 + 3).tolist() == [0, 1]
    assert allocate_budget(losses, LENGTHS, 4 + 6).tolist() == [3, 0]
