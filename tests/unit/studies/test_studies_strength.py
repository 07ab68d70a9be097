"""Weak against strong task models: drops, and C8 where it is true, false and cannot be decided."""

import numpy as np
import pytest
from strength_tables import STRONG, WEAK, Rival, with_model_pairs
from synthetic_tables import SETTINGS, synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.analysis.grid import to_grid
from alit.studies import all_claims
from alit.studies.strength.tables import (
    depth_agreement_table,
    model_comparisons,
    model_pairs,
    performances,
    strength_table,
)

IMAGES = 400


def study_data(weak=WEAK, strong=STRONG, settings=SETTINGS, drop=()):
    table = with_model_pairs(synthetic_table(IMAGES, ("val",)), weak, strong)
    return synthetic_study_data(table.drop(columns=list(drop)), settings)


def c8(*args, **changes) -> Claim:
    return all_claims()["C8"](study_data(*args, **changes))


def test_every_task_has_a_comparison_against_the_truth_and_two_against_own_answers():
    found = [(comparison.task, comparison.against) for comparison in model_comparisons(study_data())]
    truths = [("classification", "truth"), ("depth", "truth"), ("captioning", "truth")]
    assert found == [*truths, ("depth", "own answer"), ("captioning", "own answer")]


def test_a_task_with_one_model_has_no_rivals():
    settings = SETTINGS.model_copy(update={"depth_models": ("depth",), "captioners": ()})
    assert model_pairs(study_data(settings=settings)) == {"classification": ("weak", "strong")}
    assert {comparison.task for comparison in model_comparisons(study_data(settings=settings))} == {"classification"}


def test_only_images_that_all_models_have_scores_of_take_part():
    table = with_model_pairs(synthetic_table(40, ("val",)))
    table.loc[table["image_id"] == "val-00003", "caption_true_score_terse"] = np.nan
    table.loc[(table["image_id"] == "val-00004") & (table["length"] == 0), "depth_true_error_depth"] = np.nan
    sizes = {comparison.task: len(comparison.grid) for comparison in model_comparisons(synthetic_study_data(table))[:3]}
    assert sizes == {"classification": 40, "depth": 39, "captioning": 39}


def test_a_drop_is_the_gap_as_a_share_of_the_performance_on_untouched_images():
    classification, depth, *_ = model_comparisons(study_data())
    for comparison, sign in ((classification, 1), (depth, -1)):
        for column, found in zip(comparison.columns, performances(comparison, study_data().bootstrap), strict=True):
            clean, values = comparison.grid.clean[column].mean(), comparison.grid.score(column).mean(axis=0)
            assert found.clean[0] == pytest.approx(clean)
            assert found.gap[0] == pytest.approx(sign * (clean - values))
            assert found.drop[0] == pytest.approx(sign * (clean - values) / clean)


def test_the_drop_against_a_networks_own_depth_is_the_error_itself():
    own = next(comparison for comparison in model_comparisons(study_data()) if comparison.against == "own answer")
    weak, strong = performances(own, study_data().bootstrap)
    assert weak.clean.max() == 0
    assert weak.drop == pytest.approx(weak.values)
    assert (strong.drop[0] > weak.drop[0]).all()


def test_the_table_gives_each_model_at_each_length_with_its_clean_performance():
    table = strength_table(study_data())
    assert table.groupby(["task", "against", "model"]).size().tolist() == [8] * 10
    assert table.groupby("model")["place"].unique().str[0].to_dict() == {
        **{"weak": 0, "strong": 1, "coarse": 0, "depth": 1, "terse": 0, "wordy": 1}
    }
    for low, value, high in (("low", "value", "high"), ("drop_low", "drop", "drop_high")):
        assert (table[low] <= table[value] + 1e-9).all()
        assert (table[value] <= table[high] + 1e-9).all()
    truth = table[table["against"] == "truth"]
    assert (truth["clean_low"] < truth["clean_high"]).all()


def test_c8_holds_where_stronger_models_lose_the_larger_share():
    judged = c8()
    assert judged.verdict == "supported"
    found = {part.name: part for part in judged.measurements}
    assert [name for name, part in found.items() if part.bound is not None] == [
        *("drop_classification", "drop_depth", "drop_captioning")
    ]
    assert found["lead_classification"].value == pytest.approx(0.3, abs=0.08)
    assert found["lead_few_classification"].value < found["lead_classification"].value
    assert found["gap_depth"].images == IMAGES


@pytest.mark.parametrize(("losses", "verdict"), [((0.7, 0.2), "contradicted"), ((0.5, 0.5), "inconclusive")])
def test_c8_does_not_hold_where_stronger_models_lose_less_or_no_more(losses, verdict):
    judged = c8(Rival(0.5, losses[0]), Rival(0.6, losses[1]))
    assert judged.verdict == verdict
    assert "drop_classification" in judged.reason


def test_c8_does_not_take_a_model_that_is_stronger_by_name_only():
    judged = c8(Rival(0.6, 0.2), Rival(0.6, 0.7))
    assert judged.verdict == "not measurable"
    assert "strong is not measurably better than weak on untouched images" in judged.reason
    assert judged.measurements == ()


def test_c8_leaves_out_a_task_in_which_no_model_is_left_anything():
    table = with_model_pairs(synthetic_table(IMAGES, ("val",)))
    table.loc[table["length"] == 4, ["class_rank_weak", "class_rank_strong"]] = 5.0
    judged = all_claims()["C8"](synthetic_study_data(table))
    assert judged.verdict == "partly supported"
    assert "neither weak nor strong is left anything at the shortest length" in judged.reason
    assert "drop_classification" not in {part.name for part in judged.measurements}


def test_c8_says_which_strength_the_table_has_no_truth_for():
    judged = c8(drop=("depth_true_error_coarse", "depth_true_error_depth"))
    assert judged.verdict == "partly supported"
    assert "no truth for depth to measure the strength of coarse and depth by" in judged.reason
    assert {part.name for part in judged.measurements if part.bound is not None} == {
        *("drop_classification", "drop_captioning")
    }


def test_c8_cannot_be_measured_without_two_models_of_a_task():
    alone = {"classifiers": ("strong",), "depth_models": (), "captioners": ()}
    judged = c8(settings=SETTINGS.model_copy(update=alone))
    assert judged.verdict == "not measurable"
    assert judged.reason == "no task has a weak and a strong model here"
    assert strength_table(study_data(settings=SETTINGS.model_copy(update=alone))).empty


def test_depth_agreement_is_a_mean_over_the_images_with_known_depth_of_each_set():
    table = with_model_pairs(synthetic_table(30, ("val", "near", "far")))
    columns = ["depth_rank_agreement_coarse", "depth_rank_agreement_depth"]
    table.loc[table["dataset"] == "val", columns] = np.nan
    table.loc[table["image_id"] == "near-00003", columns[0]] = np.nan
    found = depth_agreement_table(synthetic_study_data(table))
    sizes = found.groupby(["dataset", "model"])["images"].unique().str[0].to_dict()
    assert sizes == {("far", "coarse"): 30, ("far", "depth"): 30, ("near", "coarse"): 29, ("near", "depth"): 29}
    line = found[(found["dataset"] == "near") & (found["model"] == "depth")]
    known = table[(table["dataset"] == "near") & (table["image_id"] != "near-00003")]
    means = known.groupby("length")["depth_rank_agreement_depth"].mean()
    assert line["clean"].unique() == pytest.approx([means[0]])
    assert line["value"].to_numpy() == pytest.approx(means[line["length"]].to_numpy())
    assert (line["low"] < line["value"]).all()
    assert (line["value"] < line["high"]).all()


def test_depth_agreement_covers_sets_that_no_claim_uses():
    table = with_model_pairs(synthetic_table(6, ("val", "gauge")))
    own = table["dataset"] == "val"
    whole = synthetic_study_data(table[own].assign(depth_rank_agreement_depth=np.nan))
    found = depth_agreement_table(whole._replace(checks=to_grid(table[~own])))
    assert set(found["dataset"]) == {"gauge"}
    assert set(found["images"]) == {6}


def test_depth_agreement_is_empty_where_no_depth_is_known_or_there_is_no_network():
    for settings in (SETTINGS, SETTINGS.model_copy(update={"depth_models": ()})):
        found = depth_agreement_table(synthetic_study_data(synthetic_table(5, ("val",)), settings))
        assert found.empty
        assert "dataset" in found
