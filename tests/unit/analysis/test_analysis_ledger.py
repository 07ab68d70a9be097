"""The ledger: the rule of its verdicts, its file, and the stage that writes it."""

import json
import math

import numpy as np
import pytest
from synthetic_tables import SETTINGS, synthetic_study_data, synthetic_table, write_project

from alit.analysis.claims import Claim, Statement, claims_table
from alit.analysis.ledger import ledger_from_json, ledger_to_json
from alit.analysis.measurements import Measurement
from alit.analysis.study_data import load_run_data
from alit.errors import DataError
from alit.studies import STUDIES, all_claims, assess
from experiments import claims as stage

STATEMENT = Statement("C0", "Sentence.", "sec. 0", "so much", "above 1")


def part(value: float, low: float, high: float, side="above", bound: float | None = 1.0, name="a") -> Measurement:
    return Measurement(name, f"statistic {name}", value, low, high, 50, bound, side)


# The rule of the verdicts


@pytest.mark.parametrize(
    ("measurement", "verdict", "words"),
    [
        (part(2.0, 1.5, 2.5), "supported", "right side"),
        (part(2.0, 0.9, 2.5), "does not hold", "not shown, since the interval straddles the criterion with 50 images"),
        (part(0.9, 0.5, 1.2), "does not hold", "straddles"),
        (part(0.5, 0.4, 0.6), "does not hold", "whole interval is on the wrong side for a"),
        (part(0.5, 0.4, 0.6, side="below"), "supported", "right side"),
        (part(0.5, 0.4, 1.6, side="below"), "does not hold", "straddles"),
        (part(1.0, 1.0, 1.0), "does not hold", "wrong side"),
        (part(2.0, math.nan, math.nan), "does not hold", "some resamples of 50 images leave a undefined"),
    ],
)
def test_a_claim_holds_only_if_the_unfavorable_end_meets_the_criterion(measurement, verdict, words):
    judged = STATEMENT.judge([measurement])
    assert judged.verdict == verdict
    assert words in judged.reason
    assert judged.value == measurement.value


def test_the_weakest_measurement_speaks_for_the_claim():
    judged = STATEMENT.judge([part(3, 2.5, 3.5), part(2, 1.1, 2.5, name="b")])
    assert (judged.verdict, judged.value) == ("supported", 2)
    assert judged.statistic == "statistic b (weakest of 2)"
    assert len(judged.measurements) == 2


def test_one_failure_fails_the_claim_and_is_named():
    judged = STATEMENT.judge([part(3, 2.5, 3.5), part(0.2, 0.1, 0.3, name="b")], ["c is missing"])
    assert judged.verdict == "does not hold"
    assert "1 of 2 measurements fail" in judged.reason
    assert judged.reason.endswith("for b")


def test_a_part_that_cannot_be_measured_keeps_a_claim_from_holding():
    judged = STATEMENT.judge([part(3, 2.5, 3.5)], ["there is no depth network"])
    assert judged.verdict == "not measurable"
    assert judged.reason == "what is measured meets it, but there is no depth network"
    assert judged.value == 3


def test_comparisons_decide_nothing():
    judged = STATEMENT.judge([part(0, -1, 1, bound=None)], ["no labels"])
    assert (judged.verdict, judged.reason) == ("not measurable", "no labels")
    assert math.isnan(judged.value)
    assert STATEMENT.judge([part(0, -1, 1, bound=None), part(3, 2.5, 3.5)]).verdict == "supported"


# The ledger as a whole


@pytest.fixture(scope="module")
def ledger() -> tuple[Claim, ...]:
    return assess(synthetic_study_data(synthetic_table(80)))


def test_every_claim_is_assessed_in_order(ledger):
    assert [item.id for item in ledger] == sorted(all_claims(), key=lambda name: int(name.removeprefix("C")))
    for item in ledger:
        assert item.low <= item.value <= item.high or math.isnan(item.value)
        assert item.sentence.endswith(".")
        assert item.verdict in ("supported", "does not hold", "not measurable")


def test_the_same_evidence_gives_the_same_bytes(ledger):
    again = assess(synthetic_study_data(synthetic_table(80)))
    assert ledger_to_json(again) == ledger_to_json(ledger)


def test_another_seed_moves_intervals_but_not_values():
    data = synthetic_study_data(synthetic_table(80))
    first, other = (all_claims()["C2"](data._replace(seed=seed)) for seed in (0, 1))
    assert first.value == other.value
    assert first.low != other.low


def test_the_ledger_survives_writing_and_reading(ledger):
    unmeasured = STATEMENT.judge([], ["no labels"])
    back = ledger_from_json(ledger_to_json([*ledger, unmeasured]))
    assert [item.id for item in back] == [*all_claims(), "C0"]
    assert back[0].value == pytest.approx(ledger[0].value, rel=1e-5)
    assert back[0].measurements[0].name == ledger[0].measurements[0].name
    assert math.isnan(back[-1].value)
    assert ledger_to_json(back) == ledger_to_json([*ledger, unmeasured])


def test_the_json_is_nested_by_claim_with_plain_numbers(ledger):
    content = json.loads(ledger_to_json(ledger))
    assert content["C2"]["verdict"] == "supported"
    assert isinstance(content["C2"]["value"], float)
    assert {"loss_val_4", "loss_near_32"} < set(content["C2"]["measurements"])


def test_the_table_of_a_notebook_has_paper_here_and_verdict(ledger):
    table = claims_table([*ledger, STATEMENT.judge([], ["no labels"])])
    assert table.columns.tolist() == ["paper", "here", "verdict"]
    assert table["here"].iloc[-1] == "not measured"
    assert "[" in table["here"].iloc[0]


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
