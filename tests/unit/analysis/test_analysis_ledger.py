"""The ledger: the rule of its verdicts, its file, and the stage that writes it."""

import json
import math

import numpy as np
import pytest
from synthetic_tables import SETTINGS, synthetic_study_data, synthetic_table, write_project

from alit.analysis.claims import Claim, Statement, claims_table
from alit.analysis.ledger import ledger_from_json, ledger_to_json
from alit.analysis.loading import load_run_data
from alit.analysis.verdicts import VERDICTS
from alit.errors import DataError
from alit.studies import STUDIES, all_claims, assess
from experiments import claims as stage

STATEMENT = Statement("C0", "Sentence.", "sec. 0", "so much", "above 1")


# The ledger as a whole


@pytest.fixture(scope="module")
def ledger() -> tuple[Claim, ...]:
    return assess(synthetic_study_data(synthetic_table(80)))


def test_every_claim_is_assessed_in_order(ledger):
    assert [item.id for item in ledger] == list(all_claims())
    numbers = [(item.id[0], int(item.id[1:])) for item in ledger]
    assert numbers == [*sorted(each for each in numbers if each[0] == "C"), *sorted(n for n in numbers if n[0] == "A")]
    for item in ledger:
        for part in item.measurements:
            assert part.low <= part.high or not part.has_interval
            assert (part.outcome is None) == (part.bound is None)
        assert item.sentence.endswith(".")
        assert item.verdict in VERDICTS
        assert item.control_verdict in VERDICTS


def test_every_claim_has_a_control_or_says_why_not_and_pools_several_measurements(ledger):
    for item in ledger:
        assert bool(item.control) != bool(item.no_control), item.id
        several = sum(part.decides and part.column == "stated" for part in item.measurements) > 1
        assert not several or item.missing or item.headline is not None, item.id


def test_the_same_evidence_gives_the_same_bytes(ledger):
    again = assess(synthetic_study_data(synthetic_table(80)))
    assert ledger_to_json(again) == ledger_to_json(ledger)


def test_another_seed_moves_intervals_but_not_values():
    data = synthetic_study_data(synthetic_table(80))
    first, other = (all_claims()["C2"](data._replace(seed=seed)).measurements[0] for seed in (0, 1))
    assert first.value == other.value
    assert first.low != other.low


def test_the_ledger_survives_writing_and_reading(ledger):
    unmeasured = STATEMENT.judge([], ["no labels"])
    back = ledger_from_json(ledger_to_json([*ledger, unmeasured]))
    assert [item.id for item in back] == [*all_claims(), "C0"]
    first, again = ledger[0].measurements[0], back[0].measurements[0]
    assert again.value == pytest.approx(first.value, rel=1e-5)
    assert (again.name, again.outcome) == (first.name, first.outcome)
    assert math.isnan(back[-1].value)
    assert ledger_to_json(back) == ledger_to_json([*ledger, unmeasured])


def test_the_json_is_nested_by_claim_with_plain_numbers(ledger):
    content = json.loads(ledger_to_json(ledger))
    assert content["C2"]["verdict"] == "supported"
    found = content["C2"]["measurements"]
    assert {"loss_val", "loss_near"} < set(found)
    assert isinstance(found["loss_val"]["value"], float)
    assert found["loss_val"]["outcome"] == "supported"
    assert found["loss_val"]["p_for"] < 0.025 < found["loss_val"]["p_against"]


def test_the_table_of_a_notebook_has_paper_here_and_verdict(ledger):
    table = claims_table([*ledger, STATEMENT.judge([], ["no labels"])])
    assert table.columns.tolist() == ["paper", "here", "as stated", "under control"]
    assert table["here"].iloc[-1] == "not measured"


def test_classes_and_depth_that_the_settings_do_not_name_are_not_looked_for():
    settings = SETTINGS.model_copy(update={"classifiers": ("absent",), "depth_models": (), "captioners": ()})
    judged = all_claims()["C6"](synthetic_study_data(synthetic_table(60), settings))
    assert judged.verdict == "not measurable"


# The stage


def test_the_stage_writes_the_claims_of_each_study(tmp_path, monkeypatch, capsys):
    paths = write_project(tmp_path / "checkout")
    monkeypatch.chdir(paths.root)
    claims = []
    for study in STUDIES:
        stage.main(["smoke", study])
        claims += ledger_from_json(paths.study_claims(study).read_text())
    assert sorted(item.id for item in claims) == sorted(all_claims())
    assert capsys.readouterr().out.count("\n") == len(all_claims())


def test_the_evidence_of_a_profile_starts_with_its_first_evaluation_set(tmp_path):
    table = synthetic_table(30, ("far", "near", "val"))
    data = load_run_data(write_project(tmp_path / "checkout", table=table))
    assert data.dataset == "val"
    assert data.grid.datasets == ("val", "near", "far")
    assert data.base_tokens == 64
    assert set(data.features) == {"small_cnn_features"}


def test_sets_that_only_check_are_asked_no_claim(tmp_path):
    paths = write_project(tmp_path / "checkout", table=synthetic_table(30, ("val", "near", "far")))
    text = paths.config.read_text().replace("familiarity: [near, far]", "familiarity: [far]")
    paths.config.write_text(text.replace("{name: near, role: evaluate", "{name: near, role: depth_check"))
    data = load_run_data(paths)
    assert data.grid.datasets == ("val", "far")
    assert data.checks is not None
    assert data.checks.datasets == ("near",)


def test_missing_tables_and_features_of_another_table_are_refused(tmp_path):
    paths = write_project(tmp_path / "checkout")
    np.save(paths.sweep / "features_other.npy", np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"rows in .*features_other.npy, found 3"):
        load_run_data(paths)
    paths.table.unlink()
    with pytest.raises(DataError, match="found none; run dvc repro"):
        load_run_data(paths)
    with pytest.raises(DataError, match="runs/absent/sweep"):
        load_run_data(paths._replace(profile="absent"))
