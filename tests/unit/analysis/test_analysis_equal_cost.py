"""Rules at exactly equal cost: what they score, in the images and in resamples."""

import numpy as np
import pytest
from adaptive_tables import LENGTHS, Images, adaptive_table, sweep_table
from hypothesis import given, settings
from hypothesis import strategies as st

from alit.analysis.bootstrap import estimate, resampled_indices, resampled_means
from alit.analysis.equal_cost import CostedAllocation, cost_of, sample_upper_quantiles
from alit.analysis.grid import SweepGrid, to_grid
from alit.analysis.selection import (
    BootstrapConfig,
    SelectionCriterion,
    allocate_by_threshold,
    covering_thresholds,
    sample_curve,
    uniform_allocation,
)
from alit.errors import DataError

HOW = BootstrapConfig(resamples=300, confidence=0.95, seed=0)


def tokens(grid: SweepGrid) -> np.ndarray:
    return np.broadcast_to(grid.lengths.astype(float), grid.rows.shape)


def by_threshold(grid: SweepGrid, column: str = "l1"):
    return allocate_by_threshold(grid, SelectionCriterion(column), covering_thresholds(grid, column))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.2, 0.95))
def test_every_rule_costs_exactly_what_is_asked(seed, share):
    grid = to_grid(adaptive_table(30, Images(0.1, 0.05, noise=0.02), seed))
    costs = tokens(grid) * np.random.default_rng(seed).uniform(0.5, 1.5, (30, 1))
    wanted = share * costs[:, -1].mean()
    for allocation in (by_threshold(grid), uniform_allocation(grid)):
        assert CostedAllocation(allocation, costs).at(wanted).here.expected(costs).mean() == pytest.approx(wanted)


def test_a_cost_between_two_lengths_mixes_them():
    grid = to_grid(sweep_table(np.array([[0.4, 0.2, 0.1], [0.8, 0.6, 0.2]])))
    chosen = CostedAllocation(uniform_allocation(grid), tokens(grid)).at(9)  # a quarter of the way from 8 to 12
    assert chosen.here.expected(grid.score("l1")).tolist() == pytest.approx([0.175, 0.5])
    assert chosen.expected(grid.score("l1")).tolist() == pytest.approx([0.175, 0.5])


def test_a_rule_that_buys_no_more_ends_and_one_that_cannot_cost_so_little_is_refused():
    grid = to_grid(adaptive_table(30, Images()))
    family = CostedAllocation(by_threshold(grid), tokens(grid))
    assert family.at(100).here.expected(tokens(grid)).mean() == LENGTHS[-1]
    with pytest.raises(DataError, match="a cost of at least 4 for L1 error"):
        family.at(3)


def test_in_a_resample_the_same_length_for_all_costs_what_the_rule_costs_there():
    grid = to_grid(adaptive_table(400, Images(0.05, 0.05, noise=0.01)))
    uniform, rule = (
        CostedAllocation(each, tokens(grid)).at(18.0) for each in (uniform_allocation(grid), by_threshold(grid))
    )
    curve = sample_curve(grid, uniform_allocation(grid), "ssim", HOW)
    numbers = np.stack([uniform.at_cost_of(rule, grid.score("ssim")), rule.expected(tokens(grid))], axis=1)
    moved, spent = resampled_means(numbers, HOW.resamples, HOW.seed).T
    exact = np.array([np.interp(*each) for each in zip(spent, curve.tokens, curve.values, strict=True)])
    assert moved[0] == pytest.approx(exact[0])
    assert (moved - exact).std() < 0.15 * exact[1:].std()  # of second order in a resample
    assert np.corrcoef(moved[1:], exact[1:])[0, 1] > 0.99
    assert np.std(spent[1:]) > 0.1


@pytest.mark.slow
def test_the_interval_of_kept_promises_covers_what_the_threshold_keeps_of_all_images():
    everything = to_grid(adaptive_table(40_000, Images(0.08, 0.15, noise=0.005), seed=99))
    inside = []
    for seed in range(300):
        grid = to_grid(adaptive_table(150, Images(0.08, 0.15, noise=0.005), seed))
        family = CostedAllocation(by_threshold(grid), tokens(grid))
        promise, how = family.loosest_threshold(18.0), HOW._replace(seed=seed)
        rule, uniform = family.at(family.spent[family.thresholds == promise][0]), uniform_allocation(grid)
        below = (grid.score("l1") < promise).astype(float)
        same = CostedAllocation(uniform, tokens(grid)).at(rule.expected(tokens(grid)).mean())
        numbers = np.stack([rule.expected(below), same.at_cost_of(rule, below)], axis=1)
        means = resampled_means(numbers, how.resamples, how.seed)
        _, low, high = estimate(means[:, 0] - means[:, 1], 0.95)
        kept, spent = first_below(everything, promise)
        others = np.interp(spent, everything.lengths, (everything.score("l1") < promise).mean(axis=0))
        inside.append(low <= kept - others <= high)
    assert 0.91 <= np.mean(inside) <= 0.985  # 0.95, and three deviations of a binomial


def first_below(grid: SweepGrid, promise: float) -> tuple[float, float]:
    """Return the share of images that a threshold serves, and the tokens that it takes."""
    below = grid.score("l1") < promise
    first = np.where(below.any(axis=1), below.argmax(axis=1), below.shape[1] - 1)
    return float(below.any(axis=1).mean()), float(grid.lengths[first].mean())


def test_lengths_that_have_nothing_to_do_with_the_images_gain_nothing_beyond_chance():
    # Losses fall by as much with each token: whoever gets them, the mean is the same.
    outside = np.zeros(2)
    for seed in range(400):
        generator = np.random.default_rng(seed)
        slope = 0.002 * np.exp(0.5 * generator.normal(size=80))
        l1 = 0.5 - slope[:, None] * LENGTHS
        grid = to_grid(sweep_table(l1, chance=generator.uniform(size=(80, 8))))
        how = HOW._replace(seed=seed, resamples=200)
        chosen = [
            CostedAllocation(each, tokens(grid)).at(18.0)
            for each in (uniform_allocation(grid), by_threshold(grid, "chance"))
        ]
        uniform, rule = chosen
        numbers = np.stack([uniform.at_cost_of(rule, grid.score("l1")), rule.expected(grid.score("l1"))], axis=1)
        means = resampled_means(numbers, how.resamples, how.seed)
        _, low, high = estimate(means[:, 0] - means[:, 1], 0.95)
        outside += (low > 0, high < 0)
    assert (outside <= 400 * 0.025 + 4 * np.sqrt(400 * 0.025)).all()  # four deviations of a binomial
    assert outside.sum() >= 1


@pytest.mark.parametrize("cost", [12, 13.5])
def test_upper_quantiles_are_those_of_the_drawn_images(cost):
    grid = to_grid(adaptive_table(200, Images(0.1, 0.05, noise=0.02)))
    l1 = grid.score("l1")
    chosen = CostedAllocation(uniform_allocation(grid), tokens(grid)).at(cost)
    found = sample_upper_quantiles([chosen], l1, 0.9, HOW).values[:, 0]
    weight = chosen.here.chance
    drawn = np.concatenate([np.arange(200)[None], *resampled_indices(200, HOW.resamples, HOW.seed)])
    for row, images in enumerate(drawn[:40]):
        pool = np.concatenate([l1[images, chosen.here.lower], l1[images, chosen.here.upper]])
        weights = np.repeat([1 - weight, weight], 200)
        order = np.argsort(-pool)
        above = np.cumsum(weights[order])
        assert found[row] == pool[order][np.argmax(above > 0.1 * 200 + 1e-9)]


def test_quantiles_come_with_what_the_drawn_images_cost():
    grid = to_grid(adaptive_table(400, Images(0.05, 0.05)))
    chosen = CostedAllocation(by_threshold(grid), tokens(grid)).at(18.0)
    found = sample_upper_quantiles([chosen], grid.score("l1"), 0.9, HOW)
    spent = resampled_means(chosen.expected(tokens(grid))[:, None], HOW.resamples, HOW.seed)
    assert found.excess == pytest.approx(spent - 18.0, abs=1e-9)
    assert found.values[0, 0] == chosen.upper_quantile(grid.score("l1"), 0.9)
    assert chosen.quantile_slope(grid.score("l1"), 0.9) < 0


def test_the_cost_of_a_value_is_read_off_a_curve():
    curve, costs = np.array([[1.0, 2.0, 2.0, 4.0]]), np.array([[10.0, 20.0, 30.0, 40.0]])
    found = [float(cost_of(curve, costs, np.array([wanted]))[0]) for wanted in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0)]
    assert found == [10, 10, 15, 20, 35, 40, 40]
