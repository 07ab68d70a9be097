"""Overlap and sparsity as means with paired intervals; C10, C11 and C18 where they are true, false, open or nothing."""

import numpy as np
import pytest
from synthetic_attention import Effects, attention_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.analysis.study_data import StudyData
from alit.studies import all_claims
from alit.studies.attention import tables as attention


def without_tables() -> StudyData:
    return synthetic_study_data(synthetic_table(20), features=False)


def study_data(images: int = 60, datasets: tuple[str, ...] = ("val",), **effects: float) -> StudyData:
    tables = attention_tables(images, datasets, Effects(**effects))
    return without_tables()._replace(tables=tables)


def claim(name: str, *arguments, **effects) -> Claim:
    return all_claims()[name](study_data(*arguments, **effects))


def test_overlap_is_the_mean_over_images_of_each_way_to_score():
    given = study_data()
    table = attention.overlap_by_iteration(given)
    assert list(table) == attention.OVERLAP_COLUMNS
    raw = given.tables[attention.OVERLAP]
    for row in table.sample(12, random_state=0).itertuples():
        here = raw[(raw["rule"] == row.rule) & (raw["source"] == row.source) & (raw["iteration"] == row.iteration)]
        if row.rule != "best":
            here = here[here["share"] == row.share]
        assert row.value == pytest.approx(100 * here["miou"].mean())
        assert row.low < row.value < row.high
        assert row.images == 60


def test_rules_keep_the_order_of_the_table_and_are_named_in_words():
    settings = list(attention.overlap_by_iteration(study_data())["setting"].unique())
    shares = ("40%", "60%", "80%", "20%")
    assert settings[:5] == [*(f"highest {share} of the pixels" for share in shares), "best share per image"]
    assert settings[5:] == [f"{share} of the attention" for share in shares]


def test_the_lead_over_each_control_is_a_paired_difference():
    table = attention.overlap_above_controls(study_data(lead=0.05, rise=0.02))
    assert set(table["source"]) == set(attention.CONTROLS)
    assert set(table["iteration"]) == {3}
    assert np.allclose(table["value"], 9, atol=1.5)
    assert (table["low"] > 0).all()
    behind = attention.overlap_above_controls(study_data(lead=-0.1, rise=0.0))
    assert (behind["high"] < 0).all()


def test_sparsity_is_the_mean_over_images_of_both_measures():
    table = attention.sparsity_by_iteration(study_data(sparser=0.01))
    assert list(table) == attention.SPARSITY_COLUMNS
    first = table[(table["source"] == "first_latents") & table["shown"]]
    first = first.pivot(index="measure", columns="iteration", values="value")
    assert first.loc["entropy"].to_list() == pytest.approx([0.80, 0.79, 0.78], abs=0.005)
    assert first.loc["gini"].to_list() == pytest.approx([0.40, 0.41, 0.42], abs=0.005)


def test_a_layer_becomes_sparser_by_the_line_through_its_iterations():
    table = attention.sparser_by_layer(study_data(sparser=0.01, sparser_elsewhere=-0.02))
    assert list(table) == attention.SPARSER_COLUMNS
    assert len(table) == 3 * 2 * 2
    shown = table["shown"].to_numpy(bool)
    assert table.loc[shown, "value"].to_list() == pytest.approx([0.02] * 4, abs=0.005)
    assert table.loc[~shown, "value"].to_list() == pytest.approx([-0.04] * 8, abs=0.005)
    assert attention.total_rise(np.array([[1.0, 5.0, 2.0, 4.0]])).tolist() == pytest.approx([1.8])  # 0.6 a step


def test_without_the_study_every_table_is_empty_with_its_columns():
    nothing = without_tables()
    for make in (
        attention.overlap_by_iteration,
        attention.overlap_above_controls,
        attention.sparsity_by_iteration,
        attention.sparser_by_layer,
        attention.attention_examples,
        attention.halting_by_iteration,
        attention.halting_lengths,
        attention.halted_examples,
    ):
        assert make(nothing).empty
    assert list(attention.overlap_by_iteration(nothing)) == attention.OVERLAP_COLUMNS


def test_halting_is_compared_with_none_at_each_iteration():
    table = attention.halting_by_iteration(study_data())
    assert list(table) == attention.HALTING_COLUMNS
    found = table.pivot(index="measure", columns="iteration", values="value")
    assert found.loc["masked"].to_list() == pytest.approx([0, 20, 40])
    assert found.loc["l1"].to_list() == pytest.approx([0, 100 * 0.01 / 0.08, 100 * 0.02 / 0.06], rel=0.02)
    assert found.loc["open_error"].to_list() == pytest.approx([0, -10, -20])
    assert found.loc["decoding"].to_list() == pytest.approx([0, 50, 50])
    assert set(table["images"]) == {60}


def test_halting_changes_how_many_tokens_an_l1_threshold_takes():
    given = study_data()  # L1 is about 0.10, 0.08, 0.06 without halting, and 0.10, 0.09, 0.08 with it
    given = given._replace(settings=given.settings.model_copy(update={"l1_thresholds": (0.01, 0.07, 0.085, 0.2)}))
    table = attention.halting_lengths(given)
    assert list(table) == attention.LENGTH_COLUMNS
    assert table["without"].to_list() == pytest.approx([24, 24, 16, 8], abs=0.5)
    assert table["halting"].to_list() == pytest.approx([24, 24, 24, 8], abs=0.5)
    assert table["value"].to_list() == pytest.approx([0, 0, 8, 0], abs=0.5)
    assert table.loc[2, "low"] > 6


@pytest.mark.parametrize(
    ("images", "effects", "stated", "control"),
    [
        (60, {}, "supported", "supported"),
        (60, {"rise": -0.02, "fixed_rise": -0.02}, "contradicted", "contradicted"),
        (400, {"rise": 0.0, "fixed_rise": 0.0}, "contradicted", "contradicted"),  # negligible
        (6, {"rise": 0.002, "fixed_rise": 0.002}, "inconclusive", "inconclusive"),
        # As many maps that show nothing of the image rise as much: maps that are random pass the paper's criterion.
        (400, {"control_rise": 0.02, "fixed_rise": 0.0}, "supported", "contradicted"),
        # Added latents bring the rise, and the first ones get worse.
        (60, {"fixed_rise": -0.02}, "supported", "mixed"),
        (60, {"control_rise": 0.04, "fixed_rise": 0.02}, "supported", "mixed"),
    ],
)
def test_c10_asks_for_a_rise_and_under_control_for_more_than_other_maps_give(images, effects, stated, control):
    judged = claim("C10", images, **effects)
    assert (judged.verdict, judged.control_verdict) == (stated, control)


def test_c10_is_decided_by_pooled_rises_and_holds_the_rest_beside_them():
    judged = claim("C10", rise=0.02, lead=-0.1)
    deciding = {item.name: item.column for item in judged.measurements if item.bound is not None}
    assert deciding == {
        "rise_latents_val": "stated",
        "rise_above_shuffled_val": "control",
        "rise_first_latents_val": "control",
    }
    found = {item.name: item for item in judged.measurements}
    assert found["rise_latents_val"].value == pytest.approx(4, abs=0.6)
    assert judged.headline.value == pytest.approx(found["rise_latents_val"].value)
    assert found["lead_placed_blobs_val"].high < 0
    assert abs(found["rise_random_val"].value) < 1
    assert {f"rise_latents_{share}_val" for share in ("20%", "40%", "60%", "80%")} < set(found)
    assert {name for name in found if name.startswith("lead_")} == {f"lead_{each}_val" for each in attention.CONTROLS}


def test_the_steps_of_c10_have_intervals_that_hold_at_once():
    given = study_data(rise=0.02)
    found = {item.name: item for item in all_claims()["C10"](given).measurements}
    samples = next(attention.sample_overlap(given)).by_iteration("latents")
    for before in (1, 2):
        step, alone = found[f"step_{before}_to_{before + 1}_val"], np.diff(samples, axis=1)[:, before - 1]
        assert step.value == pytest.approx(alone[0])
        assert step.high - step.low > np.ptp(np.quantile(alone[1:], (0.025, 0.975)))
        assert step.bound is None


def test_c10_needs_room_to_rise_below_what_no_map_can_exceed():
    judged = claim("C10", rise=0.0, bound=0.352)
    assert (judged.verdict, judged.control_verdict) == ("not measurable", "not measurable")
    assert "room to rise" in judged.reason


def test_c10_is_judged_on_every_data_set():
    given = study_data(60, ("val", "photos"))
    table = given.tables[attention.OVERLAP]
    fallen = (table["dataset"] == "photos") & table["source"].isin(["latents", "first_latents"])
    table = table.assign(miou=table["miou"] - 0.05 * table["iteration"] * fallen)
    judged = all_claims()["C10"](given._replace(tables={**given.tables, attention.OVERLAP: table}))
    assert (judged.verdict, judged.control_verdict) == ("mixed", "mixed")
    assert "rise_latents_photos" in judged.reason
    assert judged.headline.value == pytest.approx((4 - 6) / 2, abs=0.5)


@pytest.mark.parametrize(
    ("effects", "stated", "control"),
    [
        ({}, "supported", "supported"),
        ({"sparser": -0.01, "sparser_elsewhere": -0.01}, "contradicted", "contradicted"),
        ({"sparser": 0.0, "sparser_elsewhere": 0.0}, "contradicted", "contradicted"),  # negligible
        ({"sparser": 0.02, "sparser_elsewhere": -0.03}, "supported", "contradicted"),
        ({"sparser": -0.02, "sparser_elsewhere": 0.03}, "contradicted", "supported"),
    ],
)
def test_c11_asks_for_sparser_maps_in_the_shown_layer_and_under_control_in_all(effects, stated, control):
    judged = claim("C11", **effects)
    assert (judged.verdict, judged.control_verdict) == (stated, control)
    deciding = {item.name for item in judged.measurements if item.bound is not None}
    first = {"entropy_first_latents_val", "gini_first_latents_val"}
    everywhere = {f"{measure}_{source}_all_layers_val" for measure in ("entropy", "gini") for source in SPARSE_SOURCES}
    assert deciding == first | everywhere


SPARSE_SOURCES = ("first_latents", "latents")


def test_c11_needs_both_measures():
    given = study_data()
    table = given.tables[attention.SPARSITY].assign(gini=0.4)
    judged = all_claims()["C11"](given._replace(tables={**given.tables, attention.SPARSITY: table}))
    assert judged.verdict == "mixed"
    assert "gini_first_latents_val" in judged.reason


def test_c11_on_a_table_of_one_layer_has_no_control():
    given = study_data()
    table = given.tables[attention.SPARSITY]
    one = table[table["shown"]].drop(columns=["layer", "shown"])
    judged = all_claims()["C11"](given._replace(tables={**given.tables, attention.SPARSITY: one}))
    assert (judged.verdict, judged.control_verdict) == ("supported", "not measurable")
    assert "maps of one layer only, val" in judged.control_reason


@pytest.mark.parametrize(
    ("images", "effects", "stated", "control"),
    [
        (60, {}, "supported", "supported"),
        (60, {"best": 0.0}, "contradicted", "supported"),
        (60, {"best": 0.11}, "inconclusive", "supported"),  # at the bound
        (60, {"rise": 0.0, "lead": -0.05}, "supported", "contradicted"),
        (400, {"rise": 0.0, "lead": 0.0}, "supported", "contradicted"),  # any maps do as well
        (60, {"best": 0.0, "bound": 0.45}, "not measurable", "supported"),
    ],
)
def test_c18_asks_for_masks_found_and_under_control_for_more_than_other_maps_find(images, effects, stated, control):
    judged = claim("C18", images, **effects)
    assert (judged.verdict, judged.control_verdict) == (stated, control)


def test_c18_says_what_adjusting_the_share_gives_any_map():
    found = {item.name: item for item in claim("C18", best=0.2).measurements}
    for source in ("latents", "shuffled", "random"):
        assert found[f"best_gain_{source}_val"].value == pytest.approx(20, abs=1)
        assert found[f"best_gain_{source}_val"].bound is None
    assert found["best_share_of_bound_val"].value == pytest.approx(100 * 0.59 / 0.9, abs=1)


@pytest.mark.parametrize("name", ["C10", "C11", "C18"])
def test_claims_about_attention_need_its_table(name):
    judged = all_claims()[name](without_tables())
    assert (judged.verdict, judged.control_verdict) == ("not measurable", "not measurable")
    assert "dvc repro measure" in judged.reason


@pytest.mark.parametrize("name", ["C10", "C11"])
def test_of_a_single_iteration_nothing_rises_or_falls(name):
    given = study_data()
    single = {name: table[table["iteration"] == 1] for name, table in given.tables.items()}
    judged = all_claims()[name](given._replace(tables=single))
    assert (judged.verdict, judged.control_verdict) == ("not measurable", "not measurable")
    assert "from" in judged.reason
    assert {item.bound for item in judged.measurements} <= {None}
