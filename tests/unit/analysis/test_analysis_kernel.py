"""The kernel distance: the definition of the libraries, unbiased for pairs, and its bootstrap."""

import numpy as np
import pytest
import torch
from synthetic_tables import synthetic_features, synthetic_table
from torchmetrics.image.kid import poly_mmd

from alit.analysis.bootstrap import resampled_indices
from alit.analysis.distances import sample_distances, sample_kernel_between
from alit.analysis.grid import to_grid
from alit.analysis.kernel import kernel_between, kernel_influence, kernel_sums
from alit.analysis.selection import BootstrapConfig
from alit.errors import DataError

HOW = BootstrapConfig(resamples=300, confidence=0.95, seed=3)


def distance(first, second):
    return kernel_influence(first, second, kernel_sums(first, first)).value


def some_features(n=60, f=5, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, f)), generator.normal(size=(n, f)) @ generator.normal(size=(f, f)) + 0.5


def test_it_is_the_libraries_estimate_but_for_the_pairs_own_terms():
    first, second = some_features()
    library = float(poly_mmd(torch.from_numpy(first), torch.from_numpy(second), degree=3, gamma=None, coef=1.0))
    across = (first @ second.T / 5 + 1) ** 3
    without_pairs = (across.sum() - np.trace(across)) / (60 * 59)
    assert distance(first, second) == pytest.approx(library + 2 * across.mean() - 2 * without_pairs)


def test_the_same_features_have_distance_0_which_the_libraries_miss():
    first, _ = some_features()
    assert distance(first, first) == pytest.approx(0, abs=1e-12)
    library = poly_mmd(torch.from_numpy(first), torch.from_numpy(first), degree=3, gamma=None, coef=1.0)
    assert float(library) < -0.01


def test_it_does_not_depend_on_the_number_of_images_on_average():
    first, second = some_features(4000)
    few = [distance(first[start : start + 20], second[start : start + 20]) for start in range(0, 4000, 20)]
    error = np.std(few) / np.sqrt(len(few))
    assert abs(np.mean(few) - distance(first, second)) < 3 * error


def test_sums_do_not_depend_on_the_blocks(monkeypatch):
    first, second = some_features()
    whole = kernel_sums(first, second)
    monkeypatch.setattr("alit.analysis.kernel.KERNEL_BLOCK", 7)
    np.testing.assert_allclose(kernel_sums(first, second), whole)


def test_samples_have_the_value_first_and_the_spread_of_recomputing_it():
    table = synthetic_table(300, ("val",))
    features, grid = synthetic_features(table), to_grid(table)
    samples = sample_distances(features, "kernel", grid, np.tile([1, 3], (300, 1)), HOW)
    first, second = features[grid.clean_rows], features[grid.rows[:, 1]]
    assert samples[0, 0] == pytest.approx(distance(first, second))
    kernels = (first @ first.T / 6 + 1) ** 3 + (second @ second.T / 6 + 1) ** 3
    across = (first @ second.T / 6 + 1) ** 3
    terms = kernels - across - across.T
    np.fill_diagonal(terms, 0)
    counts = np.stack([np.bincount(drawn, minlength=300) for drawn in next(resampled_indices(300, 300, 3))])
    weighted = np.einsum("ri,ij,rj->r", counts, terms, counts) / (300**2 - (counts**2).sum(axis=1))
    assert samples[1:, 0].std() == pytest.approx(weighted.std(), rel=0.1)
    assert np.corrcoef(samples[1:, 0], weighted)[0, 1] > 0.95


def test_it_needs_untouched_images_and_more_than_one():
    table = synthetic_table(20, ("val",))
    touched = table[table["length"] > 0]
    with pytest.raises(DataError, match="rows of length 0"):
        sample_distances(synthetic_features(touched), "kernel", to_grid(touched), np.zeros((20, 1), int), HOW)
    with pytest.raises(DataError, match="at least 2 images"):
        distance(np.ones((1, 3)), np.ones((1, 3)))


def test_of_two_sets_of_different_images_it_is_the_libraries_estimate():
    first, second = some_features()
    library = poly_mmd(torch.from_numpy(first), torch.from_numpy(second), degree=3, gamma=None, coef=1.0)
    assert kernel_between(first, second).value == pytest.approx(float(library))


def test_two_sets_of_one_distribution_lie_around_0():
    generator = np.random.default_rng(2)
    values = [kernel_between(generator.normal(size=(30, 4)), generator.normal(size=(40, 4))).value for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)


def test_the_spread_between_two_sets_is_that_of_new_images():
    generator = np.random.default_rng(3)

    def draw():
        return generator.normal(size=(100, 4)), 1.3 * generator.normal(size=(80, 4)) + 0.5

    values = [kernel_between(*draw()).value for _ in range(200)]
    first, second = draw()
    table = synthetic_table(100, ("val", "near"), lengths=(4,))
    table = table[~((table["dataset"] == "near") & (table["image_id"].str[-5:].astype(int) >= 80))].reset_index()
    features = np.zeros((len(table), 4))
    grid = to_grid(table)
    one, two = grid.dataset("val"), grid.dataset("near")
    features[one.clean_rows], features[two.clean_rows] = first, second
    samples = sample_kernel_between(features, one, two, HOW, (1, 2))
    assert samples[0] == pytest.approx(kernel_between(first, second).value)
    assert samples[1:].std() == pytest.approx(np.std(values), rel=0.35)
