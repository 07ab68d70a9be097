"""Familiarity: gaps between few and all tokens, detection of unfamiliar images, and C4."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from synthetic_tables import SETTINGS, Effects, synthetic_study_data, synthetic_table
from unfamiliar_tables import with_training_images

from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig
from alit.studies import all_claims
from alit.studies.familiarity.tables import (
    auroc_samples,
    detection_table,
    distance_table,
    few_lengths,
    gap_table,
    measured_gaps,
    ordered_sets,
    unfamiliarity,
    unfamiliarity_table,
    within_sets,
)

HOW = BootstrapConfig(resamples=400, confidence=0.95, seed=0)
SETS = ("val", "near", "far")


def uneven(effects=Effects(), sizes=(120, 90, 60)):  # noqa: B008
    """A table whose sets have different numbers of images."""
    whole = synthetic_table(max(sizes), SETS, effects)
    number = whole["image_id"].str[-5:].astype(int)
    return whole[number < whole["dataset"].map(dict(zip(SETS, sizes, strict=True)))].reset_index(drop=True)


@pytest.mark.parametrize(
    ("lengths", "places"), [((4, 8, 12, 16), (0,)), ((32, 64, 128, 256), (0, 1)), ((2, 4), (0,)), ((8,), ())]
)
def test_few_tokens_are_the_shortest_length_and_a_quarter_of_the_longest(lengths, places):
    assert few_lengths(to_grid(synthetic_table(4, lengths=lengths))) == places


def test_the_order_is_the_profiles_without_sets_that_were_not_swept():
    data = synthetic_study_data(synthetic_table(20, ("val", "far", "other")))
    assert ordered_sets(data) == ("val", "far")


def test_gaps_are_differences_of_the_same_images():
    data = synthetic_study_data(uneven())
    table = gap_table(data)
    found = table[(table["measure"] == "l1") & (table["dataset"] == "near") & (table["length"] == 8)].iloc[0]
    losses = data.grid.dataset("near").score("l1")
    assert found["value"] == pytest.approx((losses[:, 1] - losses[:, -1]).mean())
    assert found["high"] - found["low"] < 0.5 * 4 * losses[:, 1].std() / np.sqrt(90)  # far below the unpaired interval


def test_frechet_gaps_take_as_many_images_of_each_set_and_the_others_all():
    table = gap_table(synthetic_study_data(uneven()))
    images = table.groupby(["measure", "dataset"])["images"].first()
    assert images["frechet_net"].to_dict() == dict.fromkeys(SETS, 60)
    assert images["kernel_net"].to_dict() == images["l1"].to_dict() == {"val": 120, "near": 90, "far": 60}


def test_sets_outside_the_order_come_last_and_without_a_frechet_gap():
    table = gap_table(synthetic_study_data(synthetic_table(30, ("val", "other", "near", "far"))))
    assert table.loc[table["measure"] == "l1", "dataset"].unique().tolist() == ["val", "near", "far", "other"]
    assert "other" not in set(table.loc[table["measure"] == "frechet_net", "dataset"])


def test_sets_are_resampled_independently():
    same = synthetic_table(60, ("val",))
    twins = pd.concat([same, same.assign(dataset="near")], ignore_index=True)
    gaps = [gap for gap in measured_gaps(synthetic_study_data(twins)) if gap.column == "l1" and gap.length == 8]
    first, second = (gap.samples for gap in gaps)
    assert first[0] == second[0]
    assert abs(np.corrcoef(first[1:], second[1:])[0, 1]) < 0.3


# Detection


def test_the_area_is_scikit_learns_ties_included():
    generator = np.random.default_rng(0)
    familiar, others = generator.integers(0, 8, 70), generator.integers(2, 10, 50)
    labels = np.repeat([0, 1], [70, 50])
    assert auroc_samples(familiar, others, HOW)[0] == pytest.approx(
        roc_auc_score(labels, np.concatenate([familiar, others]))
    )


def test_its_spread_is_that_of_resampling_both_sets():
    generator = np.random.default_rng(1)
    familiar, others = generator.normal(size=80), generator.normal(size=60) + 0.7
    labels = np.repeat([0, 1], [80, 60])
    drawn = [
        roc_auc_score(labels, np.concatenate([generator.choice(familiar, 80), generator.choice(others, 60)]))
        for _ in range(300)
    ]
    assert auroc_samples(familiar, others, HOW)[1:].std() == pytest.approx(np.std(drawn), rel=0.15)


def test_an_area_never_leaves_0_to_1():
    samples = auroc_samples(np.arange(20), np.concatenate([[5], np.arange(30, 45)]), HOW)
    assert samples[0] < samples.max() == 1
    assert samples.min() > 0.5


def test_harder_sets_are_told_apart_better_and_codecs_are_the_baseline():
    table = synthetic_table(120, SETS).assign(jpeg_bytes=100.0)
    areas = detection_table(synthetic_study_data(table)).set_index(["dataset", "predictor"])["value"]
    assert areas["far", "L1 with 4 tokens"] > areas["near", "L1 with 4 tokens"] > 0.55
    assert areas["far", "JPEG bytes"] == 0.5
    lengths = [name for name in areas["far"].index if name.startswith("length under")]
    assert len(lengths) == 1
    assert areas["far", lengths[0]] > 0.6


def test_the_threshold_is_chosen_on_familiar_images_alone():
    table = synthetic_table(60, SETS)
    harder = table.assign(l1=table["l1"].where(table["dataset"] == "val", table["l1"] * 1.8))
    first, second = (set(detection_table(synthetic_study_data(part))["predictor"]) for part in (table, harder))
    assert first == second


# How unlike the in-distribution images a set is


def test_measured_distances_rise_with_what_sets_the_features_apart():
    table = distance_table(synthetic_study_data(uneven(), unlike=1.0)).set_index("dataset")
    assert table.loc["val", "value"] == table.loc["val", "high"] == 0
    assert table.loc["near", "low"] > 0
    assert table.loc["near", "high"] < table.loc["far", "low"]
    assert table["images"].tolist() == [120, 90, 60]
    alike = distance_table(synthetic_study_data(uneven(), unlike=0.0)).set_index("dataset")
    assert (alike["low"] <= 0).all()
    assert distance_table(synthetic_study_data(uneven(), features=False)).empty


# C4


def claim(table, **options):
    return all_claims()["C4"](synthetic_study_data(table, **options))


def parts_of(judged):
    return {part.name: part for part in judged.measurements}


def test_c4_is_supported_where_each_set_loses_more_at_few_tokens():
    judged = claim(synthetic_table(300, SETS, Effects(unfamiliar=1.0)))
    assert judged.verdict == judged.control_verdict == "supported", judged.reason
    deciding = {(part.column, part.name) for part in judged.measurements if part.decides}
    assert deciding == {
        ("stated", "kernel_centered_trend"),
        ("stated", "frechet_infinity_trend"),
        ("control", "kernel_centered_by_distance"),
        ("control", "l1_trend"),
    }
    assert judged.headline.name == "frechet_infinity_trend"
    assert {"frechet_trend", "kernel_trend", "l1_gap_val", "frechet_gap_far", "distance_near"} <= set(parts_of(judged))


def test_c4_is_contradicted_where_unfamiliar_sets_lose_less():
    judged = claim(synthetic_table(300, SETS, Effects(unfamiliar=-0.35)))
    assert judged.verdict == judged.control_verdict == "contradicted"


def test_an_order_that_the_measured_distances_do_not_have_is_not_put_to_the_claim():
    reversed_order = SETTINGS.model_copy(update={"familiarity": ("far", "near")})
    judged = claim(synthetic_table(300, SETS, Effects(unfamiliar=1.0)), settings=reversed_order)
    assert judged.verdict == "not measurable"
    assert "least rise, from set to set, of the measured distance" in judged.reason
    assert parts_of(judged)["kernel_centered_by_distance"].outcome == "supported"  # asks for no order


def test_c4_is_open_where_the_sets_lose_alike():
    judged = claim(synthetic_table(100, SETS, Effects(unfamiliar=0.0)))
    assert judged.verdict == "inconclusive"
    assert parts_of(claim(synthetic_table(1000, SETS, Effects(unfamiliar=0.0))))["l1_trend"].outcome == "equivalent"


def test_sets_whose_features_lie_farther_from_0_do_not_lose_more_by_that():
    """A cubic kernel alone would say that they do, and by far."""
    found = parts_of(claim(synthetic_table(300, SETS, Effects(unfamiliar=0.0))))
    assert found["kernel_trend"].low > 0.3
    assert found["kernel_trend"].bound is None
    assert abs(found["kernel_centered_trend"].value) < 0.1
    assert abs(found["frechet_infinity_trend"].value) < 0.1


def test_sets_that_lose_nothing_at_few_tokens_have_nothing_that_could_rise():
    judged = claim(synthetic_table(200, SETS, Effects(unfamiliar=1.0, loss_rate=0.0)))
    assert judged.verdict == "not measurable"
    assert "mean over the sets" in judged.reason


def test_c4_cannot_be_measured_without_features_and_still_tells_the_loss():
    judged = claim(synthetic_table(60, SETS), features=False)
    assert judged.verdict == "not measurable"
    assert "need features of net" in judged.reason
    assert {"l1_gap_val", "l1_trend"} <= set(parts_of(judged))


def test_c4_is_not_measurable_for_a_tokenizer_of_one_length():
    judged = claim(synthetic_table(40, SETS, lengths=(32,)))
    assert judged.verdict == judged.control_verdict == "not measurable"
    assert "one length" in judged.reason
    assert gap_table(synthetic_study_data(synthetic_table(40, SETS, lengths=(32,)))).empty


@pytest.mark.parametrize(
    ("sets", "order", "words"),
    [
        (("val",), ("near", "far"), "no images of near"),
        (("val", "near"), (), "names no sets less familiar"),
    ],
)
def test_c4_cannot_be_measured_without_other_sets(sets, order, words):
    judged = claim(synthetic_table(60, sets), settings=SETTINGS.model_copy(update={"familiarity": order}))
    assert judged.verdict == "not measurable"
    assert words in judged.reason


# Measured familiarity


def test_unfamiliarity_is_read_of_the_table_image_by_image():
    table = with_training_images(synthetic_table(40, SETS))
    grid = synthetic_study_data(table).grid
    found = unfamiliarity(grid, "net")
    one = table[table["length"] == 32]
    np.testing.assert_allclose(found["distance from training images"], one["training_distance_net"])
    np.testing.assert_allclose(found["code surprisal"], one["entropy_bits_by_position"] / 32)
    assert "training_distance_net" not in grid.scores
    assert unfamiliarity(grid, "other").keys() == {"code surprisal"}


def test_tables_of_earlier_sweeps_and_of_codecs_have_none():
    table = synthetic_table(40, SETS)
    for part in (table, table.assign(entropy_bits=table["bits"], entropy_bits_by_position=table["bits"])):
        data = synthetic_study_data(part)
        assert unfamiliarity(data.grid, "net") == {}
        assert within_sets(data).empty
        assert unfamiliarity_table(data).empty
        names = parts_of(all_claims()["C4"](data))
        assert not [name for name in names if "training_distance" in name or "surprisal" in name]


def test_unfamiliarity_of_sets_is_a_mean_over_their_images():
    data = synthetic_study_data(with_training_images(synthetic_table(40, (*SETS, "other"))))
    table = unfamiliarity_table(data)
    assert list(dict.fromkeys(table["dataset"])) == [*SETS, "other"]
    row = table[(table["dataset"] == "near") & (table["measure"] == "distance from training images")].iloc[0]
    assert row["value"] == pytest.approx(data.grid.dataset("near").per_image("training_distance_net").mean())
    assert row["low"] < row["value"] < row["high"]


def test_within_sets_correlations_are_those_that_the_table_was_made_with():
    data = synthetic_study_data(with_training_images(synthetic_table(200, SETS), follows=1.0))
    table = within_sets(data).set_index(["dataset", "measure", "outcome", "given"])["value"].sort_index()
    for name in SETS:
        given = table[name, "distance from training images", "L1 gap, 8 to 32"]
        assert given["nothing"] == pytest.approx(1)
        assert given["JPEG bytes, WebP bytes, RMS contrast"] == pytest.approx(1, abs=1e-6)
        assert abs(table[name, "code surprisal", "L1 gap, 8 to 32", "nothing"]) < 0.25
    assert "length under" in " ".join(table.index.get_level_values("outcome"))


def test_a_relation_that_goes_by_the_bytes_is_not_left_when_these_are_held_fixed():
    table = with_training_images(synthetic_table(300, SETS), follows=1.0)
    table["jpeg_bytes"] = 1000 + 100 * table["training_distance_net"]
    found = parts_of(claim(table))["l1_gap_by_training_distance"]
    assert abs(found.value) < 0.1
    assert found.outcome != "supported"


@pytest.mark.parametrize(("follows", "outcome"), [(0.6, "supported"), (-0.6, "contradicted"), (0.0, "equivalent")])
def test_c4_asks_within_sets_whether_the_gap_goes_with_the_distance(follows, outcome):
    images = 1000 if follows == 0 else 200
    judged = claim(with_training_images(synthetic_table(images, SETS, Effects(unfamiliar=1.0)), follows=follows))
    found = parts_of(judged)
    assert found["l1_gap_by_training_distance"].outcome == outcome
    assert found["l1_gap_by_training_distance"].images == 3 * images
    assert found["l1_gap_by_training_distance_near"].bound is None
    assert found["l1_gap_by_surprisal"].bound is None
    assert found["l1_gap_by_training_distance"].column == "control"


def test_a_handful_of_images_leaves_it_open():
    judged = claim(with_training_images(synthetic_table(15, SETS), follows=0.0))
    assert parts_of(judged)["l1_gap_by_training_distance"].outcome == "inconclusive"


def test_the_gap_rises_with_the_sets_mean_distance_or_does_not():
    lose_more = synthetic_table(300, SETS, Effects(unfamiliar=1.0))
    found = parts_of(claim(with_training_images(lose_more)))["kernel_centered_by_training_distance"]
    assert found.outcome == "supported"
    assert found.column == "control"
    nearer = parts_of(claim(with_training_images(lose_more, unlike=-0.15)))["kernel_centered_by_training_distance"]
    assert nearer.outcome == "contradicted"


def test_what_is_known_of_training_images_is_a_detector():
    areas = detection_table(synthetic_study_data(with_training_images(synthetic_table(60, SETS))))
    known = areas[areas["kind"] == "training images"].set_index(["dataset", "predictor"])["value"]
    assert known["far", "distance from training images"] == 1
    assert known["near", "code surprisal"] == pytest.approx(0.5, abs=0.15)
