"""The simulation of the ledger's errors: a reduced run, one that must fail, and the kept numbers."""

import json
from functools import partial

import numpy as np
import pytest
from checkout import ROOT

from alit.analysis.bootstrap import resampled_means
from alit.errors import DataError
from experiments import simulation
from experiments.simulation import (
    CASES,
    NULL,
    Case,
    differences,
    level_coverage,
    mean_coverage,
    null_rates,
    pigeonhole,
    pooled_coverage,
)


@pytest.mark.parametrize(
    "name", ["eight differences", "at the edge of the margin", "equivalence at its margin", "two trainings apart"]
)
def test_null_tables_come_out_no_more_often_than_their_nominal_rate(name):
    found = null_rates(CASES[name], tables=80, resamples=200, seed=0)
    assert found["within"], found
    assert found["highest"].keys() == found["nominal"].keys()


def test_a_claim_that_is_true_is_found_to_exceed_the_rate_of_a_null():
    true = Case("a difference of half a deviation", partial(differences, shift=0.5), NULL)
    found = null_rates(true, tables=20, resamples=100, seed=0)
    assert found["rates"]["supported"] == 1
    assert not found["within"]


def test_a_wrong_margin_shows_as_false_equivalence():
    wide = Case("an effect of interest", partial(differences, shift=0.2, margin=0.6), {"equivalent": 0.05})
    assert not null_rates(wide, tables=20, resamples=100, seed=0)["within"]


def test_intervals_over_seeds_and_images_cover():
    assert 0.88 < pooled_coverage(2, 0.02, tables=40, resamples=200, seed=0)["coverage"] < 0.99
    assert 0.88 < level_coverage("t", 3, 0.1, tables=150, resamples=200, seed=0)["coverage"] < 0.99
    assert level_coverage("pigeonhole", 3, 0.1, tables=150, resamples=200, seed=0)["coverage"] < 0.88
    assert mean_coverage(3, 0.1, tables=150, resamples=200, seed=0)["within"]


def test_a_mean_that_is_beside_the_truth_is_not_covered(monkeypatch):
    monkeypatch.setattr(simulation, "mean_measurement", lambda parts: parts[0])  # as if one training were all
    assert not mean_coverage(3, 0.1, tables=60, resamples=100, seed=0)["within"]


def test_the_pigeonhole_bootstrap_adds_the_variance_of_seeds_to_that_of_images():
    rng = np.random.default_rng(0)
    seeds, images = 8, 400
    values = rng.normal(0, 1, (seeds, 1, 1)) + rng.normal(0, 2, (1, images, 1)) + rng.normal(0, 0.5, (seeds, images, 2))
    samples = pigeonhole(values, 4000, 0)
    assert samples.shape == (4001, 2)
    np.testing.assert_allclose(samples[0], values.mean(axis=(0, 1)))
    cells = values[..., 0]
    expected = cells.mean(axis=1).var() / seeds + cells.mean(axis=0).var() / images
    assert samples[1:, 0].var() == pytest.approx(expected, rel=0.15)


def test_one_seed_leaves_the_bootstrap_over_images():
    values = np.random.default_rng(0).normal(0, 1, (1, 50, 3))
    np.testing.assert_allclose(pigeonhole(values, 100, 5), resampled_means(values[0], 100, 5))


def test_the_command_writes_its_rates_and_refuses_too_many(tmp_path, monkeypatch, capsys):
    few = {"one": CASES["one difference"]}
    monkeypatch.setattr(simulation, "CASES", few)
    monkeypatch.setattr(simulation, "COVERED", (0.0, 1.0))
    path = tmp_path / "simulation.json"
    simulation.main(["-o", str(path), "--tables", "5", "--resamples", "20"])
    assert json.loads(path.read_text()) == json.loads(capsys.readouterr().out)
    monkeypatch.setattr(simulation, "COVERED", (1.1, 1.2))
    with pytest.raises(DataError, match="found others for 2 seeds"):
        simulation.main(["--tables", "5", "--resamples", "20"])


def test_the_kept_simulation_is_whole_and_within_its_limits():
    kept = json.loads((ROOT / "results" / "simulation.json").read_text())
    assert kept["tables"] >= 400
    assert kept["null"].keys() == CASES.keys()
    for found in (*kept["null"].values(), *kept["coverage"].values(), *kept["coverage of means"].values()):
        assert found["within"], found
    covered = np.array([found["coverage"] for found in kept["coverage"].values()])
    assert ((covered >= 0.92) & (covered <= 0.97)).all()
