"""The Fréchet distance, of whole sets and of selections, and its bootstrap."""

import numpy as np
import pytest
from scipy import linalg
from synthetic_tables import synthetic_features, synthetic_table
from textbook_frechet import frechet_distance, moments_distance

from alit.analysis.bootstrap import resampled_indices
from alit.analysis.distances import FeatureDistances, sample_distances
from alit.analysis.frechet import covariance_root, features_root, features_to_statistics, frechet_influence
from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig, SelectionCriterion, select
from alit.errors import DataError

HOW = BootstrapConfig(resamples=300, confidence=0.95, seed=3)


@pytest.fixture(scope="module")
def grid():
    return to_grid(synthetic_table(120, ("val",)))


def distance(first, second):
    """Return the distance of features (n, f) from others of the same images."""
    n = len(first)
    return FeatureDistances(np.concatenate([first, second])).frechet(np.arange(n), np.arange(n, 2 * n)).value


def test_frechet_agrees_with_the_textbook_formula():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(80, 5))
    second = generator.normal(size=(80, 5)) @ generator.normal(size=(5, 5)) + 1
    one, two = np.cov(first.T), np.cov(second.T)
    root = linalg.sqrtm(one @ two).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root)
    assert distance(first, second) == pytest.approx(expected)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_frechet_is_0_for_the_same_features_symmetric_and_finite_with_few_images():
    generator = np.random.default_rng(0)
    few, others = generator.normal(size=(6, 10)), generator.normal(size=(6, 10))
    assert distance(few, few) == pytest.approx(0, abs=1e-6)
    assert distance(few, others) == pytest.approx(distance(others, few))


def test_frechet_of_fewer_images_than_features_is_that_of_their_covariances():
    generator = np.random.default_rng(4)
    one, two = generator.normal(size=(6, 20)), generator.normal(1, 2, size=(6, 20))
    # The roots of eigenvalues that are 0 but for rounding add about 1e-8 to what covariances give.
    assert distance(one, two) == pytest.approx(frechet_distance(one, two), rel=1e-7)


def test_the_root_from_few_features_is_that_of_their_covariance():
    features = np.random.default_rng(5).normal(size=(6, 20))
    one, two = features_root(features), covariance_root(np.cov(features.T))
    np.testing.assert_allclose(np.sort(one.scales), np.sort(two.scales))
    half = [root.vectors * root.scales for root in (one, two)]
    np.testing.assert_allclose(half[0] @ half[0].T, half[1] @ half[1].T, atol=1e-12)


def test_frechet_refuses_single_rows_and_broken_features():
    with pytest.raises(DataError, match="at least 2 feature rows"):
        distance(np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(DataError, match="finite features"):
        distance(np.full((5, 3), np.nan), np.ones((5, 3)))
    with pytest.raises(DataError, match="finite features"):
        distance(np.random.default_rng(0).normal(size=(5, 3)), np.full((5, 3), np.nan))


def test_sampled_frechet_of_a_selection_has_the_value_of_the_picked_rows_first():
    table = synthetic_table(50, ("val",))
    features, grid = synthetic_features(table), to_grid(table)
    picked = select(grid, SelectionCriterion("l1"), 0.06)
    rows = table.reset_index().merge(picked.to_frame()[["image_id", "length"]])["index"]
    expected = frechet_distance(features[(table["length"] == 0).to_numpy()], features[rows])
    samples = sample_distances(features, "frechet", grid, picked.positions[:, None], HOW)
    assert samples[0, 0] == pytest.approx(expected)


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
        return mean, (centered * weights[:, None]).T @ centered * 40 / 39

    for image in (0, 7, 23):
        step = 1e-6
        weights = np.full(40, (1 - step) / 40) + step * (np.arange(40) == image)
        moved = moments_distance(*weighted(first, weights), *weighted(second, weights))
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
