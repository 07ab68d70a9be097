"""Overlap and sparsity as means with paired intervals; C10 and C11 where they are true, false and open."""

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
    assert settings[:4] == [
        *(f"highest {share} of the pixels" for share in ("40%", "60%", "80%")),
        "best share per image",
    ]
    assert settings[4:] == [f"{share} of the attention" for share in ("40%", "60%", "80%")]


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
    first = table[table["source"] == "first_latents"].pivot(index="measure", columns="iteration", values="value")
    assert first.loc["entropy"].to_list() == pytest.approx([0.80, 0.79, 0.78], abs=0.005)
    assert first.loc["gini"].to_list() == pytest.approx([0.40, 0.41, 0.42], abs=0.005)


def test_without_the_study_every_table_is_empty_with_its_columns():
    nothing = without_tables()
    for make in (
        attention.overlap_by_iteration,
        attention.overlap_above_controls,
        attention.sparsity_by_iteration,
        attention.attention_examples,
    ):
        assert make(nothing).empty
    assert list(attention.overlap_by_iteration(nothing)) == attention.OVERLAP_COLUMNS


@pytest.mark.parametrize(
    ("rise", "verdict", "words"),
    [
        (0.02, "supported", "right side"),
        (-0.02, "does not hold", "whole interval is on the wrong side"),
        (0.0, "does not hold", "straddles"),
    ],
)
def test_c10_asks_for_a_rise_over_the_iterations(rise, verdict, words):
    judged = claim("C10", rise=rise)
    assert judged.verdict == verdict
    assert words in judged.reason


def test_c10_is_decided_by_the_latents_alone_and_sets_controls_beside_them():
    judged = claim("C10", rise=0.02, lead=-0.1)
    assert judged.verdict == "supported"
    deciding = {item.name for item in judged.measurements if item.bound is not None}
    assert deciding == {f"rise_latents_{share}_val" for share in ("40%", "60%", "80%")}
    found = {item.name: item for item in judged.measurements}
    assert found["above_placed_blobs_40%_val"].high < 0
    assert abs(found["rise_random_40%_val"].value) < 2
    assert {name.split("_40%")[0] for name in found if name.startswith("above_") and "40%" in name} == {
        f"above_{control}" for control in attention.CONTROLS
    }


def test_c10_must_hold_on_every_data_set():
    given = study_data(60, ("val", "photos"))
    table = given.tables[attention.OVERLAP]
    flat = (table["dataset"] == "photos") & (table["source"] == "latents")
    fallen = table.assign(miou=table["miou"] - 0.05 * table["iteration"] * flat)
    tables = {**given.tables, attention.OVERLAP: fallen}
    judged = all_claims()["C10"](given._replace(tables=tables))
    assert judged.verdict == "does not hold"
    assert "rise_latents_40%_photos" in judged.reason


@pytest.mark.parametrize(
    ("sparser", "verdict"), [(0.01, "supported"), (-0.01, "does not hold"), (0.0, "does not hold")]
)
def test_c11_asks_for_lower_entropy_and_a_higher_gini_index(sparser, verdict):
    judged = claim("C11", sparser=sparser)
    assert judged.verdict == verdict
    deciding = {item.name for item in judged.measurements if item.bound is not None}
    assert deciding == {"entropy_first_latents_val", "gini_first_latents_val"}


def test_c11_needs_both_measures():
    given = study_data()
    table = given.tables[attention.SPARSITY].assign(gini=0.4)
    judged = all_claims()["C11"](given._replace(tables={**given.tables, attention.SPARSITY: table}))
    assert judged.verdict == "does not hold"
    assert "gini_first_latents_val" in judged.reason


@pytest.mark.parametrize("name", ["C10", "C11"])
def test_claims_about_attention_need_its_table(name):
    judged = all_claims()[name](without_tables())
    assert judged.verdict == "not measurable"
    assert "dvc repro measure" in judged.reason


def test_c10_of_a_single_iteration_has_no_rise_to_decide_by():
    given = study_data()
    single = {name: table[table["iteration"] == 1] for name, table in given.tables.items()}
    judged = all_claims()["C10"](given._replace(tables=single))
    assert judged.verdict == "not measurable"
    assert "nothing to rise from" in judged.reason
    assert {item.bound for item in judged.measurements} == {None}
