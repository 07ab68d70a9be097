"""Rank correlations over resamples: those of the textbook on every resample, ties and given values included."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from alit.analysis.bootstrap import resampled_indices
from alit.analysis.rank_correlation import partial_spearman_samples, spearman_samples
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
