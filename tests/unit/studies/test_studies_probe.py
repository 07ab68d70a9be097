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
from alit.studies.probe.claims import largest

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


@pytest.mark.parametrize(("tables", "words"), [({}, "dvc repro probe"), (unlabeled_tables(), "no labels")])
def test_without_probes_there_are_no_scores_and_the_claims_say_why(tables, words):
    seen = SWEPT._replace(tables=tables)
    scores = probe.probe_scores(seen)
    assert isinstance(scores, pd.DataFrame)
    assert scores.empty
    assert list(scores.columns) == probe.SCORE_COLUMNS
    assert probe.parity_table(seen).empty
    for name in ("C9", "C15"):
        judged = all_claims()[name](seen)
        assert judged.control_verdict == "not measurable"
        assert words in judged.reason
        assert words in judged.control_reason


def test_parity_is_the_mean_over_trainings_at_the_fixed_length():
    table = probe.parity_table(study_data(fixed=0.04))
    assert list(table.columns) == probe.PARITY_COLUMNS
    assert list(table["tokens"]) == ["image", "latents", "both"]
    assert set(table["length"]) == {LENGTHS[1]}
    assert set(table["seeds"]) == {2}
    assert table["value"].to_numpy() == pytest.approx(-0.04, abs=0.003)


def test_the_spread_between_trainings_is_pooled_over_the_variants_of_a_kind_of_tokens():
    alone, beside = probe_tables(noise=0.1), probe_tables(noise=0.1)
    more = probe_tables(noise=0.1, fixed=0.05)  # another fixed length, of other trainings
    for name in ("probe_accuracy", "probe_correct", "probe_pairs"):
        table = more[name].replace(regex={"variants/grows/": "variants/grew/", "variants/fixed/": "variants/other/"})
        known = table["than" if name == "probe_pairs" else "features"].str.startswith("variants/")
        beside[name] = pd.concat([beside[name], table[known]], ignore_index=True)
    one, two = (probe.parity_table(SWEPT._replace(tables=tables)) for tables in (alone, beside))
    assert list(two["than"]) == ["fixed"] * 3 + ["other"] * 3
    widths = [(table["high"] - table["low"]).iloc[:3].mean() for table in (one, two)]
    assert widths[1] < 0.8 * widths[0]  # four degrees of freedom instead of two: 2.78 standard errors and not 4.30


def test_c9_is_supported_where_later_iterations_and_fewer_latents_are_better():
    judged = claim("C9")
    assert (judged.verdict, judged.control_verdict) == ("supported", "supported"), judged.reason
    found = parts(judged)
    assert found["later_over_1"] == pytest.approx(0.1)
    assert found["later_over_1_image"] == pytest.approx(0.1)
    assert found["first_over_all"] == pytest.approx(0.1 * 0.75, abs=0.003)
    assert found["first_4_over_all"] == pytest.approx(0.1 * 0.5, abs=0.003)
    assert found["stop_at_2_over_all"] == pytest.approx(0.1 * 0.75 - 0.1, abs=0.003)
    assert found["parity_fixed"] == pytest.approx(0)
    assert judged.headline is not None
    assert judged.headline.value == pytest.approx(0.1)
    deciding = {item.name: item.column for item in judged.measurements if item.decides}
    assert deciding == {
        "later_over_1": "stated",
        "first_over_all": "stated",
        "parity_fixed": "stated",
        "later_over_1_image": "control",
        "later_over_1_latents": "control",
        "later_over_1_first_latents": "control",
    }


def test_the_parity_of_two_trainings_says_so():
    judged = claim("C9", fixed=0.1)
    parity = next(item for item in judged.measurements if item.name == "parity_fixed")
    assert (parity.trainings, parity.degrees) == (2, 2)  # two variants of two trainings each
    assert parity.training_error >= 0
    assert parity.outcome == "contradicted"
    assert judged.verdict == "mixed"


@pytest.mark.parametrize(
    ("effects", "failing", "outcome"),
    [
        ({"recurrence": -0.1}, "later_over_1", "contradicted"),
        ({"first": -0.1}, "first_over_all", "contradicted"),
        ({"recurrence": 0.0}, "later_over_1", "equivalent"),
        ({"recurrence": 0.01}, "later_over_1", "equivalent"),
    ],
)
def test_c9_is_mixed_where_one_part_of_it_is_false_or_negligible(effects, failing, outcome):
    judged = claim("C9", images=2000, **effects)
    assert {item.name: item.outcome for item in judged.measurements}[failing] == outcome
    assert judged.verdict == "mixed"


def test_c9_as_stated_does_not_ask_where_in_the_range_the_gain_is():
    tables = probe_tables(images=2000)
    wrong = tables["probe_correct"]
    second = (wrong["features"] == "tokenizer") & (wrong["iteration"] == 2) & (wrong["tokens"] == "both")
    wrong.loc[second, "correct"] = 0.0  # iteration 2 has lost everything, 3 still gains
    judged = all_claims()["C9"](SWEPT._replace(tables=tables))
    assert parts(judged)["later_over_1"] == pytest.approx(0.1)
    assert judged.verdict == "supported", judged.reason


@pytest.mark.parametrize("truth", [(0.0, 0.0), (0.0, -0.05), (0.03, 0.0)])
def test_the_interval_of_the_best_of_two_pays_for_the_choice(truth):
    """Of 400 studies, no more than 2.5 % (and chance) have an interval that leaves the true best on either side."""
    generator = np.random.default_rng(0)
    above = below = 0
    for _ in range(400):
        found = np.array(truth) + 0.02 * generator.normal(size=2)
        resamples = found + 0.02 * generator.normal(size=(500, 2))
        best = largest(np.concatenate([found[None], resamples]), 0.95)
        assert best.low < best.value < best.high
        above += best.low > max(truth)
        below += best.high < max(truth)
    assert max(above, below) <= 18  # 10 expected, 3 of 400 their deviation


def test_c9_is_open_where_differences_are_chance():
    judged = claim("C9", recurrence=0.02, first=0.02, noise=0.3, images=200)
    outcomes = {item.name: item.outcome for item in judged.measurements if item.decides}
    assert outcomes["later_over_1"] == outcomes["first_over_all"] == "inconclusive"
    assert "open with 200 images" in judged.reason


def test_c9_is_under_control_only_where_each_kind_of_tokens_gains():
    tables = probe_tables(images=2000)
    correct = tables["probe_correct"]
    image = (correct["features"] == "tokenizer") & (correct["tokens"] == "image")
    first = correct.loc[image & (correct["iteration"] == 1), "correct"].to_numpy()
    for iteration in (2, 3):
        correct.loc[image & (correct["iteration"] == iteration), "correct"] = first
    judged = all_claims()["C9"](SWEPT._replace(tables=tables))
    assert (judged.verdict, judged.control_verdict) == ("supported", "mixed")
    assert "later_over_1_image" in judged.control_reason


def test_c9_needs_three_iterations_and_variants():
    judged = claim("C9", points=[point for point in synthetic_points() if point.iteration != 3])
    assert "image tokens and latents at iterations 1 to 3" in judged.reason
    assert judged.control_verdict == "not measurable"
    tables = probe_tables()
    del tables["probe_pairs"]
    judged = all_claims()["C9"](SWEPT._replace(tables=tables))
    assert judged.verdict == "partly supported"
    assert "no variant with a fixed length" in judged.reason


def test_c9_cannot_be_asked_of_a_probe_that_knows_no_classes():
    tables = probe_tables()
    correct = tables["probe_correct"]
    correct.loc[correct["features"] == "constant", "correct"] = 1.0
    judged = all_claims()["C9"](SWEPT._replace(tables=tables))
    assert (judged.verdict, judged.control_verdict) == ("not measurable", "not measurable")
    assert "above the most frequent class" in judged.reason


def test_c15_is_supported_where_the_class_comes_first_and_the_loss_falls_later():
    judged = claim("C15", first=0.0)
    assert (judged.verdict, judged.control_verdict) == ("supported", "supported"), judged.reason
    found = parts(judged)
    assert found["probe_quarter_over_all"] == pytest.approx(0.0)
    assert found["probe_quarter_share"] == pytest.approx(1.0)
    assert found["probe_first_over_last_quarter"] == pytest.approx(0.1 * 0.75, abs=0.003)
    assert found["l1_after_quarter"] > 0.1
    assert found["l1_beyond_accuracy"] > 0
    assert judged.headline is not None
    assert judged.headline.name == "probe_quarter_over_all"


def test_c15_is_not_supported_where_the_class_needs_all_latents():
    judged = claim("C15", first=-0.3, late=-0.3)
    outcomes = {item.name: item.outcome for item in judged.measurements}
    assert outcomes["probe_quarter_over_all"] == "contradicted"
    assert judged.verdict == "mixed"


def test_c15_is_contradicted_under_control_where_the_last_latents_know_as_much():
    judged = claim("C15", first=0.0, late=0.0, images=2000)
    assert judged.verdict == "supported"
    assert judged.control_verdict == "contradicted"
    assert "equivalent" in judged.control_reason


def test_c15_says_where_no_last_latents_were_probed():
    judged = claim("C15", first=0.0, points=[point for point in synthetic_points() if point.tokens != "last latents"])
    assert judged.control_verdict == "not measurable"
    assert "last latents" in judged.control_reason


def test_c15_is_mixed_where_the_loss_is_down_before_the_class_is_there():
    early = synthetic_study_data(synthetic_table(200, ("val",), EARLY_LOSS), features=False)
    judged = all_claims()["C15"](early._replace(tables=probe_tables(first=0.0)))
    assert judged.verdict == "mixed"
    assert "l1_beyond_accuracy" in judged.reason


def test_c15_is_open_where_few_images_are_probed():
    judged = claim("C15", first=-0.02, noise=0.3, images=150)
    assert judged.verdict == "partly supported"
    assert "inconclusive (probe_quarter_over_all)" in judged.reason


def test_c15_cannot_be_measured_where_probes_know_nothing():
    tables = probe_tables(images=50)
    tables["probe_correct"]["correct"] = np.tile([0.0, 1.0], len(tables["probe_correct"]) // 2)
    judged = all_claims()["C15"](SWEPT._replace(tables=tables))
    assert judged.control_verdict == "not measurable"
    assert "above the most frequent class" in judged.reason
    assert "above the most frequent class" in judged.control_reason


def test_c15_names_the_labels_that_a_sweep_lacks():
    bare = synthetic_study_data(synthetic_table(200, ("val",), LATE_LOSS, columns=()), features=False)
    judged = all_claims()["C15"](bare._replace(tables=probe_tables(first=0.0)))
    assert judged.verdict == "partly supported"
    assert "no scores" in judged.reason
    assert LENGTHS[-1] == 8
