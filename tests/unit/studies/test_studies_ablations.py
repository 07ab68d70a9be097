"""Variants against each other: pairing, intervals over images and trainings, and claims C12 to C14."""

import numpy as np
import pandas as pd
import pytest
from synthetic_comparison import GAINS, LENGTHS, ablation_tables
from synthetic_tables import synthetic_features, synthetic_study_data, synthetic_table

from alit.analysis.frechet import frechet_distance
from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig
from alit.errors import DataError
from alit.studies import assess
from alit.studies.ablations.measure import image_rates, reference_rows
from alit.studies.ablations.tables import (
    comparison_table,
    cost_summary,
    headline_rates,
    over_trainings,
    sample_reduction,
    sample_trainings,
    to_trainings,
    variant_rates,
)

HOW = BootstrapConfig(400, 0.95, 0)


def study_data(**options):
    return synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=ablation_tables(**options))


def test_means_of_the_frechet_column_are_the_distance_itself():
    table = synthetic_table(50, ("val",))
    features, grid = synthetic_features(table), to_grid(table)
    rates = image_rates(grid, features)
    for column, length in enumerate(grid.lengths):
        expected = frechet_distance(features[grid.clean_rows], features[grid.rows[:, column]])
        assert rates.loc[rates["length"] == length, "frechet"].mean() == pytest.approx(expected)
    np.testing.assert_allclose(rates["l1"], grid.score("l1").ravel())
    assert rates["image_id"].tolist()[: len(grid.lengths)] == [grid.images["image_id"][0]] * len(grid.lengths)


def test_references_are_the_rows_of_one_set_without_the_originals():
    table = synthetic_table(20, ("val", "near"))
    rows = reference_rows(table, "val")
    assert rows["image_id"].str.startswith("val-").all()
    assert sorted(rows["length"].unique()) == sorted(set(table["length"]) - {0})


def test_trainings_do_not_depend_on_the_order_of_their_rows():
    table = ablation_tables()["ablation_variants"].query("variant == 'plain'")
    found = to_trainings(table.sample(frac=1, random_state=0), "l1")
    assert (found.seeds, found.lengths, found.values.shape) == ((0, 1, 2), LENGTHS, (3, 40, 4))
    row = table.query("seed == 1 and image_id == 'val-00007' and length == 16")
    assert found.values[1, 7, 2] == row["l1"].item()


def test_a_training_that_lacks_an_image_is_refused():
    table = ablation_tables()["ablation_variants"].query("variant == 'plain'")
    with pytest.raises(DataError, match="3 trainings x 40 images x 4 lengths of a variant, found 479 rows"):
        to_trainings(table.iloc[1:], "l1")


def test_one_training_has_an_interval_over_images_alone():
    values = np.random.default_rng(0).normal(size=(1, 200, 2))
    samples = over_trainings(sample_trainings(values, HOW), seed=0)
    np.testing.assert_allclose(samples[0], values.mean(axis=(0, 1)))
    assert samples[1:].std(axis=0) == pytest.approx(values[0].std(axis=0) / np.sqrt(200), rel=0.15)


def test_trainings_that_differ_widen_the_interval_by_student_and_leave_the_value():
    images = np.random.default_rng(1).normal(size=(1, 200, 1))
    alike, apart = np.repeat(images, 3, axis=0), images + np.array([-1.0, 0.0, 1.0])[:, None, None]
    same, different = (over_trainings(sample_trainings(values, HOW), seed=0) for values in (alike, apart))
    np.testing.assert_allclose(different[0], same[0])
    low, high = np.percentile(different[1:, 0], [2.5, 97.5])
    assert high - low == pytest.approx(2 * 4.303 / np.sqrt(3), rel=0.25)  # t with 2 degrees of freedom
    assert np.ptp(np.percentile(same[1:, 0], [2.5, 97.5])) < 0.4


def test_intervals_over_trainings_cover_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = generator.normal(size=(3, 1, 1)) + 0.3 * generator.normal(size=(3, 60, 1))
        samples = over_trainings(sample_trainings(values, BootstrapConfig(200, 0.95, trial)), seed=trial)
        low, high = np.percentile(samples[1:, 0], [2.5, 97.5])
        covered += low < 0 < high
    assert 180 <= covered <= 199


def test_a_reduction_pairs_images_and_trainings():
    found = sample_reduction(study_data(gains={"width": 0.1}), "width", "plain", "l1")
    assert found[0] == pytest.approx(0.1, abs=0.01)
    apart = study_data(gains={"width": 0.1}, seed_spread=0.2)
    assert np.ptp(sample_reduction(apart, "width", "plain", "l1")) > 3 * np.ptp(found)


def test_only_lengths_that_both_have_are_compared():
    whole = study_data()
    found = sample_reduction(whole, "plain", "fixed", "l1")
    assert found[0] == pytest.approx(-0.05, abs=0.01)
    tables = dict(whole.tables)
    tables["ablation_variants"] = tables["ablation_variants"].query("variant != 'fixed' or seed > 7")
    assert sample_reduction(whole._replace(tables=tables), "plain", "fixed", "l1") is None


def test_tables_of_the_notebook_have_a_row_for_each_variant_length_and_measure():
    whole = study_data()
    rates = variant_rates(whole)
    assert len(rates) == 2 * (8 * len(LENGTHS) + 1)  # the ninth has one length
    assert ((rates["low"] <= rates["value"]) & (rates["value"] <= rates["high"])).all()
    assert (rates["seeds"] == 3).all()
    assert headline_rates(whole)["series"].unique().tolist() == ["plain", "nested", "a network per length"]
    assert len(comparison_table(whole)) == 2 * 8
    assert cost_summary(whole).loc["fixed", "tokens"] == 32


def test_a_profile_without_ablations_has_empty_tables():
    nothing = synthetic_study_data(synthetic_table(20, ("val",)))
    for table in (variant_rates, headline_rates, comparison_table, cost_summary):
        assert table(nothing).empty


def verdicts(ids=("C12", "C13", "C14"), **options):
    return {claim.id: claim for claim in assess(study_data(**options), ids)}


def test_claims_hold_where_every_change_helps_and_the_gap_to_fixed_lengths_is_small():
    assert {claim.verdict for claim in verdicts().values()} == {"supported"}


@pytest.mark.parametrize("changed", ["width", "depth", "steps", "data", "stage 2"])
def test_c13_needs_every_improvement(changed):
    claim = verdicts(["C13"], gains=GAINS | {changed: -0.05})["C13"]
    assert claim.verdict == "mixed"
    missing = {name: gain for name, gain in GAINS.items() if name != changed}
    assert verdicts(["C13"], gains=missing)["C13"].verdict == "partly supported"


def test_c12_does_not_hold_where_quantizing_costs_nothing():
    assert verdicts(["C12"], gains={"continuous": -0.02})["C12"].verdict == "contradicted"
    assert verdicts(["C12"], gains={"width": 0.1})["C12"].verdict == "not measurable"


def test_a_gain_within_the_spread_of_trainings_is_not_shown():
    claim = verdicts(["C12"], gains={"continuous": 0.01}, seed_spread=0.05)["C12"]
    assert claim.verdict == "inconclusive"


@pytest.mark.parametrize(("options", "verdict"), [({"fixed": 0.3}, "mixed"), ({"own": 0.3}, "mixed")])
def test_c14_fails_where_fixed_lengths_or_the_base_are_much_better(options, verdict):
    assert verdicts(["C14"], **options)["C14"].verdict == verdict


def test_c14_is_not_measurable_without_the_base_or_without_fixed_lengths():
    whole = study_data()
    without_base = dict(whole.tables)
    without_base["ablation_references"] = pd.DataFrame(whole.tables["ablation_references"].query("tokenizer != 'base'"))
    (claim,) = assess(whole._replace(tables=without_base), ["C14"])
    assert claim.verdict == "partly supported"
    assert "the base was not measured" in claim.reason
    (claim,) = assess(whole._replace(tables={}), ["C14"])
    assert claim.verdict == "not measurable"
