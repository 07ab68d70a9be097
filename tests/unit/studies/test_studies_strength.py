"""Weak against strong task models: drops, and C8 where it is true, false and cannot be decided."""

import numpy as np
import pytest
from strength_tables import STRONG, WEAK, Rival, with_model_pairs
from synthetic_tables import SETTINGS, synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.analysis.grid import to_grid
from alit.studies import all_claims
from alit.studies.strength.tables import (
    Performance,
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


TASKS = ("classification", "depth", "captioning")


def outcomes(judged: Claim) -> dict[str, str | None]:
    return {part.name: part.outcome for part in judged.measurements if part.decides}


def test_c8_holds_in_both_columns_where_stronger_models_lose_the_larger_share():
    judged = c8()
    assert judged.verdict == judged.control_verdict == "supported", (judged.reason, judged.control_reason)
    found = {part.name: part for part in judged.measurements}
    assert set(outcomes(judged)) == {
        *(f"{task}_{scale}" for task in TASKS for scale in ("gap", "share")),
        *("classification_log_odds", "captioning_log_odds"),
    }
    assert found["classification_lead"].value == pytest.approx(0.3, abs=0.08)
    assert found["classification_lead_few"].value < found["classification_lead_mean"].value
    assert found["depth_gap"].images == IMAGES
    assert 0 < judged.low < judged.value < judged.high


def test_c8_is_contradicted_where_stronger_models_lose_less():
    judged = c8(Rival(0.5, 0.7), Rival(0.6, 0.2))
    assert judged.verdict == judged.control_verdict == "contradicted"
    assert outcomes(judged)["classification_gap"] == "contradicted"


def test_c8_under_control_asks_whether_the_stronger_has_only_more_to_lose():
    """Both lose half: in points the stronger loses more, as a share as much."""
    judged = c8(Rival(0.4, 0.5), Rival(0.8, 0.5))
    assert outcomes(judged)["classification_gap"] == "supported"
    assert outcomes(judged)["classification_share"] in ("equivalent", "inconclusive")
    assert judged.control_verdict != "supported"


def lost(clean, fall):
    return Performance(np.array([clean] * 2), np.array([[clean - fall]] * 2), 1.0)


def test_log_odds_tell_a_loss_near_the_ceiling_from_one_in_the_middle():
    middle, ceiling, small = (lost(*each).log_odds_lost(10_000)[0, 0] for each in ((0.5, 0.2), (0.95, 0.2), (0.8, 0.1)))
    assert ceiling > middle > small
    assert lost(0.95, 0.2).drop[0, 0] < lost(0.5, 0.2).drop[0, 0]  # as a share it is the other way around
    assert middle == pytest.approx(np.log(7 / 3), abs=1e-3)


def test_log_odds_of_none_and_of_all_are_finite():
    edge = Performance(np.array([1.0]), np.array([[0.0]]), 1.0)
    assert edge.log_odds_lost(100)[0, 0] == pytest.approx(2 * np.log(201), rel=1e-6)


def test_c8_does_not_take_a_model_that_is_stronger_by_name_only():
    judged = c8(Rival(0.6, 0.2), Rival(0.6, 0.7))
    assert judged.verdict == judged.control_verdict == "not measurable"
    assert "lead of strong over weak in classification on untouched images is 0 " in judged.reason
    assert judged.headline is None


def test_c8_goes_by_the_performance_on_untouched_images_whatever_the_order_of_the_list():
    names = ("classifiers", "depth_models", "captioners")
    turned = SETTINGS.model_copy(update={name: getattr(SETTINGS, name)[::-1] for name in names})
    data = study_data()
    assert all_claims()["C8"](data._replace(settings=turned)) == all_claims()["C8"](data)
    assert strength_table(data._replace(settings=turned)).equals(strength_table(data))


def test_c8_takes_the_strongest_of_all_where_the_list_ends_with_another():
    table = with_model_pairs(synthetic_table(IMAGES, ("val",)))
    middle = with_model_pairs(synthetic_table(IMAGES, ("val",)), Rival(0.7, 0.2))["class_rank_weak"]
    settings = SETTINGS.model_copy(update={"classifiers": ("weak", "strong", "middle")})
    data = synthetic_study_data(table.assign(class_rank_middle=middle), settings)
    classification, *_ = model_comparisons(data)
    assert classification.models == ("weak", "middle", "strong")
    (lead,) = (part for part in all_claims()["C8"](data).measurements if part.name == "classification_lead")
    assert lead.statistic.endswith("strong minus weak")


def test_c8_does_not_compare_losses_where_there_is_next_to_none():
    judged = c8(Rival(0.6, 0.01), Rival(0.8, 0.05))
    assert judged.verdict == "not measurable"
    assert "loss of strong in classification with 4 tokens" in judged.reason


def test_c8_does_not_take_a_task_in_which_no_model_is_left_anything():
    table = with_model_pairs(synthetic_table(IMAGES, ("val",)))
    table.loc[table["length"] == 4, ["class_rank_weak", "class_rank_strong"]] = 5.0
    judged = all_claims()["C8"](synthetic_study_data(table))
    assert judged.verdict == "partly supported"
    assert "performance of weak in classification with 4 tokens is 0 " in judged.reason
    assert outcomes(judged)["classification_gap"] is None
    assert outcomes(judged)["depth_gap"] == "supported"


def test_c8_does_not_take_a_judge_that_is_wrong_on_most_untouched_images():
    judged = c8(Rival(0.2, 0.2), Rival(0.4, 0.7))
    assert "top-1 accuracy of strong on untouched images of val" in judged.reason
    assert outcomes(judged)["classification_gap"] is None


def test_c8_takes_ranks_among_the_sets_classes_and_asks_for_more_than_chance():
    table = with_model_pairs(synthetic_table(IMAGES, ("val",)))  # of ten classes
    own = {f"class_rank_in_set_{name}": table[f"class_rank_{name}"] for name in ("weak", "strong")}
    table[["class_rank_weak", "class_rank_strong"]] += 5
    judged = all_claims()["C8"](synthetic_study_data(table.assign(**own)))
    assert outcomes(judged)["classification_gap"] == "supported"
    assert "classification_gap_among_all" in {part.name for part in judged.measurements}
    few = (table["length"] == 4) & (table["image_id"].str[-2:] > "07")  # 8 % right: no more than a guess
    own = {name: ranks.mask(few, 4.0) for name, ranks in own.items()}
    judged = all_claims()["C8"](synthetic_study_data(table.assign(**own)))
    assert outcomes(judged)["classification_gap"] is None
    assert "in classification with 4 tokens" in judged.reason


def test_c8_says_which_strength_the_table_has_no_truth_for():
    judged = c8(drop=("depth_true_error_coarse", "depth_true_error_depth"))
    assert judged.verdict == judged.control_verdict == "partly supported"
    assert "no truth for depth to measure the strength of coarse and depth by" in judged.reason
    assert not any(name.startswith("depth") for name in outcomes(judged))


def test_c8_cannot_be_measured_without_two_models_of_a_task():
    alone = {"classifiers": ("strong",), "depth_models": (), "captioners": ()}
    judged = c8(settings=SETTINGS.model_copy(update=alone))
    assert judged.verdict == "not measurable"
    assert judged.reason == "no task has a weak and a strong model here"
    assert strength_table(study_data(settings=SETTINGS.model_copy(update=alone))).empty


def test_c8_leaves_out_depth_networks_that_see_no_more_than_a_blind_rule():
    table = with_model_pairs(synthetic_table(IMAGES, ("val",)))
    table = table.assign(depth_rank_agreement_blind_lower=0.9, depth_rank_agreement_blind_center=0.1)
    data = synthetic_study_data(table)
    judged = all_claims()["C8"](data)
    assert outcomes(judged)["depth_gap"] is None
    assert outcomes(judged)["classification_gap"] == "supported"
    assert "lead of depth in rank agreement" in judged.reason
    models = set(depth_agreement_table(data)["model"])
    assert models == {"coarse", "depth", "no picture: lower is nearer", "no picture: closer to the center is nearer"}


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
