"""The probe study: scores from tables that are known, and claims where they are true, false and undecidable."""

import numpy as np
import pandas as pd
import pytest
from synthetic_probe import LENGTHS, probe_tables, synthetic_points, unlabeled_tables
from synthetic_tables import Effects, synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.analysis.study_data import StudyData
from alit.errors import DataError
from alit.studies import all_claims
from alit.studies.probe import tables as probe

# Classification is done early and the loss falls slowly; the reverse is EARLY_LOSS.
LATE_LOSS = Effects(loss_rate=2.0, class_rate=8.0, class_spread=0.1)
EARLY_LOSS = Effects(loss_rate=16.0, class_rate=3.0, class_spread=0.1)
SWEPT = synthetic_study_data(synthetic_table(200, ("val",), LATE_LOSS), features=False)


def study_data(**effects) -> StudyData:
    return SWEPT._replace(tables=probe_tables(**effects))


def claim(name: str, **effects) -> Claim:
    return all_claims()[name](study_data(**effects))


def parts(judged: Claim) -> dict[str, float]:
    return {item.name: item.value for item in judged.measurements}


def test_each_point_has_its_accuracy_interval_and_spread():
    scores = probe.probe_scores(study_data())
    assert list(scores.columns) == probe.SCORE_COLUMNS
    assert len(scores) == len(synthetic_points())
    by_label = scores.set_index(["label", "iteration", "latents"])["value"]
    assert by_label["image tokens", 1, 0] == pytest.approx(0.4)
    assert by_label["image tokens and latents", 3, 6] == pytest.approx(0.5)
    assert by_label["latents, quantized", 4, 8] == pytest.approx(0.5)
    assert by_label["coarse pixels", 0, 0] == pytest.approx(0.3)
    assert ((scores["low"] < scores["value"]) & (scores["value"] < scores["high"])).all()
    assert (scores["spread"] == 0).all()
    assert set(scores["trained_on"]) == {800}
    assert set(scores["images"]) == {400}
    assert set(scores["seeds"]) == {2}


def test_the_spread_is_that_of_the_seeds():
    noisy = study_data(noise=0.3)
    scores = probe.probe_scores(noisy)
    table = noisy.tables["probe_accuracy"]
    first = table[table["split"] == "test"].iloc[:2]["accuracy"]
    assert scores["spread"].iloc[0] == pytest.approx(first.std())
    assert scores["value"].iloc[0] == pytest.approx(first.mean())


def test_a_point_without_one_of_the_images_is_refused():
    tables = probe_tables()
    tables["probe_correct"] = tables["probe_correct"].drop(index=7)
    with pytest.raises(DataError, match="same images"):
        probe.probe_scores(SWEPT._replace(tables=tables))


@pytest.mark.parametrize(("tables", "words"), [({}, "dvc repro measure"), (unlabeled_tables(), "no labels")])
def test_without_probes_there_are_no_scores_and_the_claims_say_why(tables, words):
    seen = SWEPT._replace(tables=tables)
    scores = probe.probe_scores(seen)
    assert isinstance(scores, pd.DataFrame)
    assert scores.empty
    assert list(scores.columns) == probe.SCORE_COLUMNS
    for name in ("C9", "C15"):
        judged = all_claims()[name](seen)
        assert judged.verdict == "not measurable"
        assert words in judged.reason


def test_c9_holds_where_later_iterations_and_fewer_latents_are_better():
    judged = claim("C9")
    assert judged.verdict == "supported", judged.reason
    found = parts(judged)
    assert found["iteration_2_over_1"] == pytest.approx(0.1)
    assert found["first_quarter_over_all"] == pytest.approx(0.1 * 0.75, abs=0.003)
    assert found["first_half_over_all"] == pytest.approx(0.1 * 0.5, abs=0.003)
    assert found["stop_at_quarter_over_all"] == pytest.approx(0.1 * 0.75 - 0.1, abs=0.003)
    assert [item.bound for item in judged.measurements if item.name.startswith("stop")] == [None, None]


@pytest.mark.parametrize(
    ("effects", "failing"),
    [({"recurrence": -0.1}, "iteration_2_over_1"), ({"first": -0.1}, "first_quarter_over_all")],
)
def test_c9_does_not_hold_where_one_half_of_it_is_false(effects, failing):
    judged = claim("C9", **effects)
    assert judged.verdict == "does not hold"
    assert "wrong side" in judged.reason
    assert failing in judged.reason


def test_c9_is_open_where_differences_are_chance():
    judged = claim("C9", recurrence=0.01, first=0.01, noise=0.8, images=60)
    assert judged.verdict == "does not hold"
    assert "straddles" in judged.reason


def test_c9_needs_three_iterations():
    judged = claim("C9", points=[point for point in synthetic_points() if point.iteration != 3])
    assert judged.verdict == "not measurable"
    assert "iterations 1 to 3" in judged.reason


def test_c15_holds_where_the_class_comes_first_and_the_loss_falls_later():
    judged = claim("C15", first=0.0)
    assert judged.verdict == "supported", judged.reason
    found = parts(judged)
    assert found["probe_quarter"] == pytest.approx(1.0)
    assert found["l1_after_quarter"] > 0.1
    assert found["l1_beyond_accuracy"] > 0


def test_c15_does_not_hold_where_the_class_needs_all_latents():
    judged = claim("C15", first=-0.3)
    assert judged.verdict == "does not hold"
    assert "probe_quarter" in judged.reason


def test_c15_does_not_hold_where_the_loss_is_down_before_the_class_is_there():
    early = synthetic_study_data(synthetic_table(200, ("val",), EARLY_LOSS), features=False)
    judged = all_claims()["C15"](early._replace(tables=probe_tables(first=0.0)))
    assert judged.verdict == "does not hold"
    assert "l1_beyond_accuracy" in judged.reason


def test_c15_is_open_where_few_images_are_probed():
    judged = claim("C15", first=-0.04, noise=0.3, images=150)
    assert judged.verdict == "does not hold"
    assert "straddles" in judged.reason


def test_c15_cannot_be_measured_where_probes_know_nothing():
    points = [
        point._replace(features="constant") if point.features == "pixels" else point for point in synthetic_points()
    ]
    tables = probe_tables(noise=1.0, images=50, points=points[:-3])
    tables["probe_correct"]["correct"] = np.tile([0.0, 1.0], len(tables["probe_correct"]) // 2)
    judged = all_claims()["C15"](SWEPT._replace(tables=tables))
    assert judged.verdict == "not measurable"
    assert "not clearly above chance" in judged.reason


def test_c15_names_the_labels_that_a_sweep_lacks():
    bare = synthetic_study_data(synthetic_table(200, ("val",), LATE_LOSS, columns=()), features=False)
    judged = all_claims()["C15"](bare._replace(tables=probe_tables(first=0.0)))
    assert judged.verdict == "not measurable"
    assert "no scores" in judged.reason
    assert LENGTHS[-1] == 8
