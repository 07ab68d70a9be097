"""Variants against each other: pairing, intervals over images and trainings, and claims C12 to C14."""

import numpy as np
import pandas as pd
import pytest
from synthetic_comparison import GAINS, LENGTHS, ablation_tables
from synthetic_tables import synthetic_features, synthetic_study_data, synthetic_table
from textbook_frechet import frechet_distance

from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig
from alit.errors import DataError
from alit.studies import assess
from alit.studies.ablations.measure import image_rates, reference_rows
from alit.studies.ablations.tables import (
    Trainings,
    comparison_table,
    cost_summary,
    headline_rates,
    levels_of,
    log_levels,
    noise_table,
    sample_reduction,
    shared_lengths,
    to_trainings,
    training_error,
    training_spread,
    training_variance,
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
    assert rows["frechet"].isna().all()


def test_references_have_their_distance_at_the_longest_length():
    table = synthetic_table(50, ("val", "near"))
    features, grid = synthetic_features(table), to_grid(table).dataset("near")
    rows = reference_rows(table, "near", features)
    longest = rows["length"] == grid.longest
    expected = frechet_distance(features[grid.clean_rows], features[grid.rows[:, -1]])
    assert rows.loc[longest, "frechet"].mean() == pytest.approx(expected)
    assert rows.loc[~longest, "frechet"].isna().all()


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


def levels_of_values(values):
    """Return levels of variants by name from errors (seeds, images, lengths)."""
    return {
        name: log_levels(Trainings(tuple(range(len(each))), LENGTHS[: each.shape[2]], each), HOW)
        for name, each in values.items()
    }


def errors(generator, image, seeds, spread):
    """Return (seeds, images, 1) errors around 1 of the same images (n,), of trainings that spread by a share."""
    noise = 0.05 * generator.normal(size=(seeds, len(image), 1)) + spread * generator.normal(size=(seeds, 1, 1))
    return np.exp(image[None, :, None] + noise)


def test_where_nothing_was_trained_twice_the_interval_is_one_over_images():
    generator = np.random.default_rng(0)
    image = 0.2 * generator.normal(size=(1, 200, 1))
    one, other = (np.exp(image + 0.3 * generator.normal(size=(1, 200, 1))) for _ in range(2))
    samples = sample_reduction(levels_of_values({"a": one, "b": other}), "a", "b", LENGTHS[:1], seed=0)
    assert samples[0] == pytest.approx(1 - one.mean() / other.mean())
    ratio = one.mean() / other.mean()
    assert samples[1:].std() == pytest.approx((one / ratio - other).std() / other.mean() / 200**0.5 * ratio, rel=0.15)


def test_a_single_training_spreads_as_those_of_the_other_variants_do():
    generator = np.random.default_rng(1)
    image = 0.2 * generator.normal(size=300)
    seeds = {"a": 1, "b": 1, "c": 4, "d": 4, "e": 4, "f": 4}
    found = levels_of_values({name: errors(generator, image, count, 0.1) for name, count in seeds.items()})
    between = training_variance(found.values(), LENGTHS[:1])
    assert between.degrees == 4 * 3
    assert np.sqrt(between.variance) == pytest.approx(0.1, rel=0.5)
    logs = np.log(1 - sample_reduction(found, "a", "b", LENGTHS[:1], seed=0))
    low, high = np.percentile(logs[1:], [2.5, 97.5])
    student = 2.179 * np.sqrt(2 * between.variance)  # t with 12 degrees of freedom
    assert high - low == pytest.approx(2 * student, rel=0.2)
    error = training_error(found, "a", "b", LENGTHS[:1], LENGTHS[:1], 0.5)
    assert (error.half_width(0.95), error.degrees) == (pytest.approx(student / 2, rel=1e-3), 12)  # a ratio of a half
    assert training_spread(found, LENGTHS[:1], LENGTHS[:1]) == pytest.approx(np.sqrt(2 * between.variance))


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_over_images_and_pooled_trainings_cover_the_truth(seeds):
    """Nine comparisons of two or three trainings each, as a run of ten variants has them; the true effect is none."""
    covered, total, widths = 0, 0, []
    for trial in range(150):
        generator = np.random.default_rng(1000 + trial)
        image = 0.2 * generator.normal(size=60)
        found = levels_of_values({f"v{number}": errors(generator, image, seeds, 0.02) for number in range(10)})
        for number in range(1, 10):
            low, high = np.percentile(
                sample_reduction(found, f"v{number}", "v0", LENGTHS[:1], seed=trial)[1:], [2.5, 97.5]
            )
            covered, total = covered + (low < 0 < high), total + 1
            widths.append((high - low) / 2)
    assert 0.92 <= covered / total <= 0.97
    assert np.mean(widths) < {2: 0.06, 3: 0.05}[seeds]  # alone, two trainings of each would give 0.2


def test_two_variants_need_no_seed_in_common():
    tables = ablation_tables(gains={"continuous": 0.1})
    rows = tables["ablation_variants"]
    plain, other = rows["variant"] == "plain", rows["variant"] == "continuous"
    apart = pd.concat([rows[plain & (rows["seed"] > 0)], rows[other & (rows["seed"] == 0)]])
    levels = levels_of(study_data()._replace(tables={**tables, "ablation_variants": apart}), "l1")
    assert sample_reduction(levels, "continuous", "plain", LENGTHS, seed=0)[0] == pytest.approx(0.1, abs=0.02)


def test_a_reduction_pairs_images_and_widens_with_the_spread_of_trainings():
    found, apart = (
        sample_reduction(levels_of(study_data(gains={"width": 0.1}, **each), "l1"), "width", "plain", LENGTHS, seed=0)
        for each in ({}, {"seed_spread": 0.2})
    )
    assert found[0] == pytest.approx(0.1, abs=0.01)
    assert np.ptp(apart) > 3 * np.ptp(found)


def test_only_lengths_that_both_have_are_compared():
    levels = levels_of(study_data(), "l1")
    assert shared_lengths(levels, "plain", "fixed") == [LENGTHS[-1]]
    assert sample_reduction(levels, "plain", "fixed", [LENGTHS[-1]], seed=0)[0] == pytest.approx(-0.05, abs=0.01)
    assert shared_lengths(levels, "plain", "nobody") == []


def test_the_table_of_noise_tells_from_how_many_trainings_it_comes():
    table = noise_table(study_data(seed_spread=0.05))
    assert table["percent"].between(3, 8).all()
    longest = table["length"] == LENGTHS[-1]
    assert (table.loc[longest, "trainings"] == 9 * 3).all()
    assert (table.loc[~longest, "trainings"] == 8 * 3).all()
    assert noise_table(study_data(seeds=(0,))).empty


def test_tables_of_the_notebook_have_a_row_for_each_variant_length_and_measure():
    whole = study_data()
    rates = variant_rates(whole)
    assert len(rates) == 2 * (8 * len(LENGTHS) + 1)  # the ninth has one length
    assert ((rates["low"] <= rates["value"]) & (rates["value"] <= rates["high"])).all()
    assert (rates["seeds"] == 3).all()
    assert headline_rates(whole)["series"].unique().tolist() == ["plain", "nested", "a network per length"]
    assert len(comparison_table(whole)) == 2 * 8
    assert len(comparison_table(whole, by_length=True)) == 2 * (7 * len(LENGTHS) + 1)
    assert cost_summary(whole).loc["fixed", "tokens"] == 32


def test_a_profile_without_ablations_has_empty_tables():
    nothing = synthetic_study_data(synthetic_table(20, ("val",)))
    for table in (variant_rates, headline_rates, comparison_table, cost_summary):
        assert table(nothing).empty


def claim(name, **options):
    (found,) = assess(study_data(**options), [name])
    return found


def test_claims_are_supported_where_every_change_helps_and_fixed_lengths_and_the_base_are_worse():
    for name in ("C12", "C13", "C14"):
        found = claim(name, fixed=-0.05, own=-0.05)
        assert (name, found.verdict) == (name, "supported")
        assert {part.trainings for part in found.measurements} <= {1, 3}
        assert found.headline is not None


@pytest.mark.parametrize("changed", ["width", "depth", "steps", "data", "stage 2"])
def test_c13_is_mixed_where_one_change_hurts_and_partly_supported_where_one_is_missing(changed):
    found = claim("C13", gains=GAINS | {changed: -0.1})
    assert found.verdict == "mixed"
    assert "1 of 5 contradicted" in found.reason
    missing = {name: gain for name, gain in GAINS.items() if name != changed}
    assert claim("C13", gains=missing).verdict == "partly supported"


def test_c13_names_its_budget_as_provisional():
    words = [part.statistic for part in claim("C13").measurements]
    assert all("provisional: 12,800 images seen in stage 1" in each for each in words)


def test_c13_gains_of_no_interest_are_equivalent():
    names = ("width", "depth", "steps", "data", "stage 2")
    found = claim("C13", gains=dict.fromkeys(names, 0.005), seed_spread=0.001)
    assert found.verdict == "contradicted"
    assert "all 5 equivalent" in found.reason


def test_c12_is_contradicted_where_quantizing_helps_and_not_measurable_where_it_was_not_varied():
    found = claim("C12", gains={"continuous": -0.1})
    assert found.verdict == "contradicted"
    assert len([part for part in found.measurements if part.column == "stated"]) == 2 * len(LENGTHS)
    assert claim("C12", gains={"width": 0.1}).verdict == "not measurable"


def test_c12_is_mixed_where_the_curves_cross():
    found = claim("C12", gains={"continuous": 0.2}, crossing=0.5)
    assert found.verdict == "mixed"
    outcomes = {part.name: part.outcome for part in found.measurements}
    assert outcomes["frechet_continuous_than_plain_4"] == "supported"
    assert outcomes["frechet_continuous_than_plain_32"] == "contradicted"


@pytest.mark.parametrize(("gain", "verdict"), [(0.2, "contradicted"), (0.7, "supported")])
def test_c12_under_control_compares_at_no_more_bits(gain, verdict):
    found = claim("C12", gains={"continuous": gain})
    assert (found.verdict, found.control_verdict) == ("supported", verdict)
    control = [part for part in found.measurements if part.column == "control"]
    assert "4 tokens of 1536 bits against 32 tokens of 320 bits" in control[0].statistic


def test_a_gain_within_the_spread_of_trainings_is_inconclusive():
    assert claim("C12", gains={"continuous": 0.02}, seed_spread=0.05).verdict == "inconclusive"


def test_a_claim_about_one_training_says_so_and_takes_the_spread_of_the_others():
    alone = claim("C12", gains=GAINS, seeds=(0,))
    assert {part.trainings for part in alone.measurements} == {1}
    assert all(np.isnan(part.training_spread) for part in alone.measurements)
    borrowed = claim("C12", gains=GAINS, once=("continuous",), seed_spread=0.05)
    assert {part.trainings for part in borrowed.measurements} == {1}
    widths = [
        next(part.high - part.low for part in each.measurements if part.name == "l1_continuous_than_plain_4")
        for each in (alone, borrowed)
    ]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(
    ("fixed", "own", "verdict"),
    [
        (-0.05, -0.05, "supported"),  # better in both halves
        (0.05, 0.05, "mixed"),  # L1 is higher, distances lie within the paper's margin
        (0.3, 0.3, "contradicted"),
        (-0.05, 0.3, "mixed"),
    ],
)
def test_c14_judges_l1_and_the_distance_apart(fixed, own, verdict):
    assert claim("C14", fixed=fixed, own=own).verdict == verdict


def test_c14_under_control_takes_the_length_that_costs_no_more_to_encode():
    whole = study_data(fixed=-0.05)
    assert assess(whole, ["C14"])[0].control_verdict == "supported"
    costs = whole.tables["ablation_costs"].copy()
    costs.loc[costs["variant"] == "plain", "encode_gflop"] *= 2
    (found,) = assess(whole._replace(tables={**whole.tables, "ablation_costs": costs}), ["C14"])
    (control,) = [part for part in found.measurements if part.column == "control"]
    assert "at 8 tokens, which take no more operations" in control.statistic
    assert found.control_verdict == "contradicted"


def test_c14_is_partly_supported_without_the_base_and_not_measurable_without_anything():
    whole = study_data(fixed=-0.05)
    without_base = dict(whole.tables)
    without_base["ablation_references"] = pd.DataFrame(whole.tables["ablation_references"].query("tokenizer != 'base'"))
    (found,) = assess(whole._replace(tables=without_base), ["C14"])
    assert found.verdict == "partly supported"
    assert "the base was not measured" in found.reason
    before = whole.tables["ablation_references"].drop(columns="frechet")  # as runs kept it before distances were
    (found,) = assess(whole._replace(tables={**whole.tables, "ablation_references": before}), ["C14"])
    assert "the Fréchet distance of the base was not measured" in found.reason
    (found,) = assess(whole._replace(tables={}), ["C14"])
    assert (found.verdict, found.control_verdict) == ("not measurable", "not measurable")
