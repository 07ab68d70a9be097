"""Distances that are computed once, extrapolated to infinitely many images, and kept in place of features."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import synthetic_features, synthetic_table, write_project

from alit.analysis import distances as module
from alit.analysis.distances import DistanceKind, FeatureDistances, sample_distances
from alit.analysis.grid import every_length, to_grid
from alit.analysis.loading import DISTANCES, load_study_data
from alit.analysis.selection import BootstrapConfig
from alit.analysis.sweep_folder import find_sweep
from alit.errors import DataError

HOW = BootstrapConfig(resamples=200, confidence=0.95, seed=3)
KINDS = get_args(DistanceKind)


@pytest.fixture(scope="module")
def table():
    return synthetic_table(60, ("val",))


@pytest.fixture(scope="module")
def features(table):
    return synthetic_features(table)


def through_a_file(distances, folder):
    distances.to_table().to_parquet(folder / "kept.parquet")
    return FeatureDistances.from_table(pd.read_parquet(folder / "kept.parquet"))


def test_what_is_kept_gives_the_same_samples_as_the_features(table, features, tmp_path):
    grid, distances = to_grid(table), FeatureDistances(features)
    first = [sample_distances(distances, kind, grid, every_length(grid), HOW) for kind in KINDS]
    kept = through_a_file(distances, tmp_path)
    assert kept.size == 6
    for kind, expected in zip(KINDS, first, strict=True):
        np.testing.assert_array_equal(sample_distances(kept, kind, grid, every_length(grid), HOW), expected)


def test_what_was_not_asked_for_is_not_kept(table, features, tmp_path):
    grid, distances = to_grid(table), FeatureDistances(features)
    positions = every_length(grid)
    sample_distances(distances, "kernel", grid, positions[:, :2], HOW)
    kept = through_a_file(distances, tmp_path)
    assert len(kept.to_table()) == 2
    for kind, places in (("kernel", [3]), ("frechet", [0])):
        with pytest.raises(DataError, match="only what the run's own ledger asked is kept"):
            sample_distances(kept, kind, grid, positions[:, places], HOW)
    with pytest.raises(DataError, match="kept beside the sweep, found none"):
        sample_distances(kept, "kernel", grid.subset(np.arange(59)), positions[:59, :2], HOW)


def test_a_distance_is_computed_once(table, features, monkeypatch):
    calls = []
    compute = module.frechet_influence
    monkeypatch.setattr(module, "frechet_influence", lambda *given: (calls.append(1), compute(*given))[1])
    grid, distances = to_grid(table), FeatureDistances(features)
    for _ in range(3):
        sample_distances(distances, "frechet", grid, every_length(grid), HOW)
    assert len(calls) == 8


def gaussian_pairs(images, generator, size=20, noise=0.8):
    """Return features of originals and of reconstructions that add noise; their true distance is known."""
    scales = 1 / np.sqrt(np.arange(1, size + 1))
    first = generator.normal(size=(images, size)) * scales
    return first, first + noise * generator.normal(size=(images, size)) * scales + 0.1


TRUE = 20 * 0.01 + (1 / np.arange(1, 21)).sum() * (np.sqrt(1 + 0.8**2) - 1) ** 2


def test_extrapolation_removes_the_bias_of_few_images_and_its_spread_is_that_of_new_images():
    generator = np.random.default_rng(0)
    finite, infinite, spreads = [], [], []
    for _ in range(80):
        first, second = gaussian_pairs(100, generator)
        distances = FeatureDistances(np.concatenate([first, second]))
        rows = np.arange(100), np.arange(100, 200)
        finite.append(distances.frechet(*rows).value)
        found = distances.frechet_infinity(*rows)
        infinite.append(found.value)
        spreads.append(found.effects.std() / 10)
    bias, left = np.mean(finite) - TRUE, np.mean(infinite) - TRUE
    assert bias > 0.05
    assert abs(left) < 0.2 * bias
    assert np.mean(spreads) == pytest.approx(np.std(infinite), rel=0.25)


def test_extrapolation_needs_more_images_in_each_half_than_features(table, features):
    distances = FeatureDistances(features)
    assert distances.can_extrapolate(14)
    assert not distances.can_extrapolate(13)
    grid = to_grid(table).subset(np.arange(13))
    with pytest.raises(DataError, match="at least 14 images to extrapolate"):
        sample_distances(distances, "frechet_infinity", grid, every_length(grid), HOW)


def test_a_run_that_is_kept_without_features_has_the_distances_that_were_asked(tmp_path):
    paths = write_project(tmp_path / "checkout")
    data = load_study_data(find_sweep(paths.sweep))
    here = data.grid.dataset(data.dataset)
    expected = sample_distances(data.reference_features, "kernel", here, every_length(here), data.bootstrap)
    (extractor,) = data.features
    data.distances[extractor].to_table().to_parquet(paths.sweep / f"{DISTANCES}{extractor}.parquet")
    (paths.sweep / f"features_{extractor}.npy").unlink()
    kept = load_study_data(find_sweep(paths.sweep))
    assert kept.features == {}
    np.testing.assert_array_equal(
        sample_distances(kept.reference_features, "kernel", here, every_length(here), data.bootstrap), expected
    )
