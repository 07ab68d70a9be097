"""Rank correlations over resamples: those of the textbook on every resample, ties and given values included."""

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata, spearmanr

from alit.analysis.bootstrap import resampled_indices
from alit.analysis.rank_correlation import kendall_influence, partial_spearman_samples, spearman_samples
from alit.analysis.selection import BootstrapConfig

HOW = BootstrapConfig(resamples=20, confidence=0.95, seed=0)


@pytest.fixture
def draws():
    """The images themselves, then those of each resample."""
    return [np.arange(50), *next(resampled_indices(50, 20, 0))]


def some_values(seed):
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 9, 50).astype(float)
    return first, np.stack([generator.normal(size=50), first + generator.normal(size=50), np.round(first / 3)], axis=1)


def test_each_resample_has_the_correlation_of_its_images_ties_included(draws):
    first, values = some_values(0)
    expected = [[spearmanr(first[drawn], column[drawn]).statistic for column in values.T] for drawn in draws]
    np.testing.assert_allclose(spearman_samples(first, values, HOW), expected, atol=1e-12)


def test_given_values_are_taken_out_by_a_regression_of_ranks(draws):
    first, values = some_values(1)
    given = [values[:, 1], np.random.default_rng(2).normal(size=50)]
    expected = []
    for drawn in draws:
        design = np.stack([np.ones(50), *(rankdata(column[drawn]) for column in given)], axis=1)
        ranks = np.stack([rankdata(column[drawn]) for column in (first, values[:, 0], values[:, 2])], axis=1)
        left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        expected.append(np.corrcoef(left.T)[0, 1:])
    np.testing.assert_allclose(partial_spearman_samples(first, values[:, [0, 2]], given, HOW), expected, atol=1e-10)


def test_given_nothing_it_is_the_plain_correlation():
    first, values = some_values(3)
    np.testing.assert_allclose(
        partial_spearman_samples(first, values, [], HOW), spearman_samples(first, values, HOW), atol=1e-12
    )


def test_nothing_is_left_of_what_the_given_determine():
    first, second = np.random.default_rng(4).normal(size=(2, 40))
    assert (partial_spearman_samples(first, second[:, None], [np.exp(first)], HOW) == 0).all()
    assert (partial_spearman_samples(np.ones(40), second[:, None], [first], HOW) == 0).all()
    assert (spearman_samples(np.ones(40), second[:, None], HOW) == 0).all()
    once, twice = ([second] * times for times in (1, 2))
    np.testing.assert_allclose(
        partial_spearman_samples(first, (first + second)[:, None], twice, HOW),
        partial_spearman_samples(first, (first + second)[:, None], once, HOW),
    )


def test_values_that_share_only_what_is_given_have_nothing_more_in_common():
    generator = np.random.default_rng(5)
    shared = generator.normal(size=300)
    first, second = (shared + 0.5 * generator.normal(size=300) for _ in range(2))
    assert abs(partial_spearman_samples(first, second[:, None], [shared], HOW)[0, 0]) < 0.15
    assert partial_spearman_samples(first, second[:, None], [], HOW)[0, 0] > 0.6


# Kendall's tau-b


def needs(images: int, relation: float, cap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values, and lengths in steps that follow them; needs beyond the cap are censored."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=images)
    wanted = np.ceil(2 * (relation * values + generator.normal(size=images) + 2))
    return np.round(values, 1), np.where(wanted > cap, np.inf, wanted)


@pytest.mark.parametrize("cap", [3, 6, 100])
def test_tau_is_scipys_ties_included(cap):
    values, lengths = needs(200, 0.8, cap)
    ranks = rankdata(lengths)  # scipy compares infinities as it does numbers, but subtracts them too
    assert kendall_influence(values, lengths).value == pytest.approx(kendalltau(values, ranks).statistic)


def test_tau_is_1_where_all_pairs_that_have_an_order_agree():
    values, lengths = np.array([1, 2, 3, 4.0]), np.array([8, 16, 24, np.inf])
    assert kendall_influence(values, lengths).value == pytest.approx(1)
    assert kendall_influence(-values, lengths).value == pytest.approx(-1)


@pytest.mark.parametrize("relation", [0.0, 0.8])
def test_the_influence_of_images_gives_the_spread_of_resampling_them(relation):
    values, lengths = needs(300, relation, 5)
    found = kendall_influence(values, lengths)
    generator = np.random.default_rng(1)
    draws = [generator.integers(300, size=300) for _ in range(400)]
    resampled = [kendalltau(values[drawn], rankdata(lengths[drawn])).statistic for drawn in draws]
    assert found.effects.std() / np.sqrt(300) == pytest.approx(np.std(resampled), rel=0.15)
    assert found.effects.mean() == pytest.approx(0, abs=1e-12)
    moved = [found.effects[drawn].mean() for drawn in draws]
    assert np.corrcoef(moved, resampled)[0, 1] > 0.98


def test_a_constant_side_has_no_tau():
    for values, lengths in ((np.ones(9), np.arange(9)), (np.arange(9), np.full(9, np.inf))):
        found = kendall_influence(values, lengths)
        assert found.value == 0
        assert (found.effects == 0).all()
