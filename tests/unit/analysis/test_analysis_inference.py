"""Statistics of the ledger against scipy, statsmodels, closed forms and tables whose answer is known."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from alit.analysis.bootstrap import Estimate, interval, resampled_means
from alit.analysis.inference import (
    LEAST_P,
    SeedVariance,
    TrainingStandardError,
    holm,
    over_trainings,
    p_beyond,
    pooled_seed_variance,
    required_images,
    required_seeds,
    simultaneous_interval,
    tost,
    trend,
)


def test_holm_steps_down_and_leaves_out_what_is_not_tested():
    np.testing.assert_allclose(holm([0.01, 0.04, math.nan, 0.03]), [0.03, 0.06, math.nan, 0.06])
    for seed in range(20):
        values = np.random.default_rng(seed).random(12) ** 3
        np.testing.assert_allclose(holm(values.tolist()), multipletests(values, method="holm")[1])
    assert holm([]).shape == (0,)


def test_tests_against_a_normal_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 1, (400, 1))
    samples = resampled_means(values, 2000, 1)[:, 0]
    found = Estimate(float(samples[0]), *map(float, interval(samples, 0.95)))
    expected = stats.ttest_1samp(values[:, 0], 0, alternative="greater").pvalue
    assert p_beyond(found, 0, "above", 0.95) == pytest.approx(expected, abs=0.01)
    assert p_beyond(found, 0, "below", 0.95) == pytest.approx(1 - expected, abs=0.01)
    sides = [
        stats.ttest_1samp(values[:, 0], end, alternative=side).pvalue
        for end, side in ((-0.2, "greater"), (0.2, "less"))
    ]
    assert tost(found, 0, 0.2, 0.95) == pytest.approx(max(sides), abs=0.01)


@pytest.mark.parametrize("degrees", [1, 2, 8])
def test_p_over_trainings_alone_is_that_of_a_t_test(degrees):
    half = float(stats.t.ppf(0.975, degrees))  # an interval of standard error 1
    for distance in (0.0, 0.5, 4.0, 30.0):
        found = Estimate(distance, distance - half, distance + half)
        error = TrainingStandardError(1.0, degrees)
        expected = stats.t.sf(distance, degrees)
        assert p_beyond(found, 0, "above", 0.95, error) == pytest.approx(max(LEAST_P, expected), rel=1e-6)
        assert p_beyond(found, 0, "below", 0.95, error) == pytest.approx(1 - expected, rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_p_agrees_with_the_interval_and_lies_between_a_normal_and_students(share):
    error = TrainingStandardError(math.sqrt(share) / float(stats.t.ppf(0.975, 2)), 2)
    found = Estimate(1.0, 0.0, 2.0)
    assert error.share(1.0, 0.95) == pytest.approx(share)
    assert p_beyond(found, 0.0, "above", 0.95, error) == pytest.approx(0.025)
    normal, student = stats.norm.sf(3 * stats.norm.ppf(0.975)), stats.t.sf(3 * stats.t.ppf(0.975, 2), 2)
    far = p_beyond(found, -2.0, "above", 0.95, error)
    assert max(LEAST_P, normal) * (1 - 1e-6) <= far <= student * (1 + 1e-6)
    assert (far > 2 * LEAST_P) == (share > 0)
    assert tost(found, 1.0, 1.0, 0.95, error) == pytest.approx(0.025)


def test_a_statistic_that_is_undefined_in_a_resample_shows_nothing():
    assert p_beyond(Estimate(1.0, math.nan, math.nan), 0, "above", 0.95) == 1.0


def test_a_trend_is_the_slope_per_step_and_agrees_with_page():
    rng = np.random.default_rng(0)
    for rise in (0.1, -0.1):
        values = rng.normal(0, 1, (300, 1)) + rise * np.arange(5) + rng.normal(0, 0.5, (300, 5))
        slopes = trend(resampled_means(values, 500, 0))
        assert slopes[0] == pytest.approx(rise, abs=0.05)
        low, high = interval(slopes, 0.95)
        page = stats.page_trend_test(values, method="asymptotic").pvalue
        assert (low > 0) == (page < 0.025) == (rise > 0)
        assert (high < 0) == (rise < 0)


def test_a_trend_takes_positions():
    samples = np.array([[1.0, 3.0, 9.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(trend(samples, [0, 1, 4]), [2, 0], atol=1e-12)


def test_simultaneous_intervals_cover_all_steps_at_once():
    rng = np.random.default_rng(0)
    inside, marginal = 0, 0
    for seed in range(200):
        samples = resampled_means(rng.normal(0, 1, (100, 8)), 400, seed)
        low, high = simultaneous_interval(samples, 0.9)
        inside += bool(((low < 0) & (high > 0)).all())
        low, high = interval(samples, 0.9)
        marginal += bool(((low < 0) & (high > 0)).all())
    assert 0.84 < inside / 200 < 0.96
    assert marginal / 200 < 0.6


def test_a_constant_step_does_not_widen_the_others():
    samples = np.concatenate([np.zeros((1, 2)), np.random.default_rng(0).normal(0, 1, (2000, 2)) * [1, 0]])
    low, high = simultaneous_interval(samples, 0.95)
    assert high[0] == pytest.approx(1.96, abs=0.1)
    assert (low[1], high[1]) == (0, 0)


def test_pooled_variance_is_that_of_an_analysis_of_variance():
    groups = [np.array([1.0, 3.0]), np.array([2.0, 2.0, 5.0]), np.array([7.0])]
    found = pooled_seed_variance(groups)
    assert found.degrees == 3
    assert found.variance == pytest.approx((2 + 6) / 3)
    with pytest.raises(ValueError, match="two seeds or more"):
        pooled_seed_variance([np.array([1.0])])


def test_trainings_widen_an_interval_by_students_t_of_the_pooled_degrees():
    steady = np.zeros((20001, 2))
    between = SeedVariance(np.asarray(0.02), 8)
    low, high = interval(over_trainings(steady, 0, between), 0.95)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 8) * math.sqrt(0.01), rel=0.05)
    alone = np.tile([-0.1, 0.1], (20001, 1))  # a variance of 0.02 on one degree of freedom
    low, high = interval(over_trainings(alone, 0), 0.95)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 1) * 0.1, rel=0.15)
    assert (over_trainings(np.zeros((11, 1)), 0) == 0).all()


def test_power_counts_images_and_seeds_as_the_textbook_does():
    found = Estimate(0.1, 0.1 - 1.96 * 0.05, 0.1 + 1.96 * 0.05)  # standard error 0.05 with 400 images
    needed = required_images(found, 400, 0.1, 0.95)
    assert needed == pytest.approx(400 * (0.05 * (1.96 + 0.8416) / 0.1) ** 2, rel=1e-3)
    assert required_images(found, 400, 0.0, 0.95) == math.inf
    assert required_seeds(1.0, 1.0, 0.95) == 10  # a t-test of one mean, d = 1, power 0.8
    assert required_seeds(math.nan, 1.0, 0.95) == math.inf
