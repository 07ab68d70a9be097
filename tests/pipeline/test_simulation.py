"""The simulation of the ledger's errors: a reduced run, one that must fail, and the kept numbers."""

import json
from functools import partial

import numpy as np
import pytest
from checkout import ROOT

from alit.errors import DataError
from experiments import simulation
from experiments.simulation import CASES, NULL, Case, differences, level_coverage, null_rates, pooled_coverage


@pytest.mark.parametrize("name", ["eight differences", "at the edge of the margin", "equivalence at its margin"])
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
    for found in (*kept["null"].values(), *kept["coverage"].values()):
        assert found["within"], found
    covered = np.array([found["coverage"] for found in kept["coverage"].values()])
    assert ((covered >= 0.92) & (covered <= 0.97)).all()
