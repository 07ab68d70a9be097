"""The Fréchet distance, of whole sets and of selections, and its bootstrap."""

import numpy as np
import pytest
from scipy import linalg
from synthetic_tables import synthetic_features, synthetic_table

from alit.analysis.bootstrap import resampled_indices
from alit.analysis.distances import sample_distances
from alit.analysis.frechet import (
    FeatureStatistics,
    covariance_root,
    features_root,
    features_to_statistics,
    frechet_distance,
    frechet_influence,
    frechet_of_selection,
    statistics_to_distance,
)
from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig, SelectionCriterion, select
from alit.errors import DataError

HOW = BootstrapConfig(resamples=300, confidence=0.95, seed=3)


@pytest.fixture(scope="module")
def grid():
    return to_grid(synthetic_table(120, ("val",)))


def test_frechet_agrees_with_the_textbook_formula():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(80, 5))
    second = generator.normal(size=(60, 5)) @ generator.normal(size=(5, 5)) + 1
    one, two = np.cov(first.T), np.cov(second.T)
    root = linalg.sqrtm(one @ two).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_frechet_is_0_for_the_same_features_symmetric_and_finite_with_few_images():
    generator = np.random.default_rng(0)
    few, others = generator.normal(size=(4, 10)), generator.normal(size=(6, 10))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, others) == pytest.approx(frechet_distance(others, few))


@pytest.mark.parametrize(("first", "second"), [(6, 6), (6, 60), (60, 6)])
def test_frechet_of_fewer_images_than_features_is_that_of_their_covariances(first, second):
    generator = np.random.default_rng(4)
    one, two = generator.normal(size=(first, 20)), generator.normal(1, 2, size=(second, 20))
    expected = statistics_to_distance(features_to_statistics(one), features_to_statistics(two))
    # The roots of eigenvalues that are 0 but for rounding add about 1e-8 to what covariances give.
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-7)


def test_the_root_from_few_features_is_that_of_their_covariance():
    features = np.random.default_rng(5).normal(size=(6, 20))
    one, two = features_root(features), covariance_root(np.cov(features.T))
    np.testing.assert_allclose(np.sort(one.scales), np.sort(two.scales))
    half = [root.vectors * root.scales for root in (one, two)]
    np.testing.assert_allclose(half[0] @ half[0].T, half[1] @ half[1].T, atol=1e-12)


def test_frechet_refuses_single_rows_and_broken_features():
    with pytest.raises(DataError, match="at least 2 feature rows"):
        frechet_distance(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(DataError, match="finite features"):
        frechet_distance(np.full((5, 3), np.nan), np.ones((5, 3)))


def test_frechet_of_a_selection_takes_the_picked_rows():
    table = synthetic_table(50, ("val",))
    features, grid = synthetic_features(table), to_grid(table)
    picked = select(grid, SelectionCriterion("l1"), 0.06)
    rows = table.reset_index().merge(picked.to_frame()[["image_id", "length"]])["index"]
    expected = frechet_distance(features[(table["length"] == 0).to_numpy()], features[rows])
    assert frechet_of_selection(features, grid, picked) == pytest.approx(expected)


def test_sampled_frechet_has_the_exact_value_first():
    table = synthetic_table(50, ("val",))
    features, grid = synthetic_features(table), to_grid(table)
    picked = select(grid, SelectionCriterion("l1"), 0.06)
    samples = sample_distances(features, "frechet", grid, picked.positions[:, None], HOW)
    assert samples[0, 0] == pytest.approx(frechet_of_selection(features, grid, picked))


def test_an_images_influence_is_the_slope_of_the_distance_in_its_weight():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(40, 3))
    second = first + 0.5 * generator.normal(size=(40, 3)) + 0.2
    features = np.concatenate([first, second])
    originals, others = np.arange(40), np.arange(40, 80)
    reference = features_to_statistics(features, originals)
    influence = frechet_influence(features, originals, others, reference, covariance_root(reference.covariance))

    def weighted(values, weights):
        mean = weights @ values
        centered = values - mean
        return FeatureStatistics(mean, (centered * weights[:, None]).T @ centered * 40 / 39)

    for image in (0, 7, 23):
        step = 1e-6
        weights = np.full(40, (1 - step) / 40) + step * (np.arange(40) == image)
        moved = statistics_to_distance(weighted(first, weights), weighted(second, weights))
        assert influence.effects[image] == pytest.approx((moved - influence.value) / step, rel=0.05, abs=0.02)


def test_the_spread_of_sampled_frechet_is_that_of_recomputing_it():
    table = synthetic_table(300, ("val",))
    features, grid = synthetic_features(table), to_grid(table)
    positions = np.tile([1, 3], (300, 1))
    samples = sample_distances(features, "frechet", grid, positions, BootstrapConfig(400, 0.95, 7))
    recomputed = [
        [frechet_distance(features[grid.clean_rows[drawn]], features[grid.rows[drawn, place]]) for place in (1, 3)]
        for drawn in next(resampled_indices(300, 400, 7))
    ]
    assert samples[1:].std(axis=0) == pytest.approx(np.std(recomputed, axis=0), rel=0.15)
    assert np.corrcoef(samples[1:, 0], np.array(recomputed)[:, 0])[0, 1] > 0.95


def test_sampled_frechet_needs_untouched_images():
    table = synthetic_table(20, ("val",))
    touched = table[table["length"] > 0]
    with pytest.raises(DataError, match="rows of length 0"):
        sample_distances(synthetic_features(touched), "frechet", to_grid(touched), np.zeros((20, 1), int), HOW)
