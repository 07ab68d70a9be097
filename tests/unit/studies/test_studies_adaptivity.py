"""Adaptivity: A1 to A5 where they are true, false, negligible, open and not measurable, and what rules are."""

import numpy as np
import pandas as pd
import pytest
from adaptive_tables import BARE, LENGTHS, TWO_NETWORKS, Images, adaptive_table, sweep_table, with_networks
from strength_tables import with_model_pairs
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.analysis.study_data import AnalysisConfig, StudyData
from alit.errors import NotMeasurable
from alit.studies.adaptivity.claims import CLAIMS
from alit.studies.adaptivity.tables import (
    BUDGETS,
    PREDICTED,
    Asked,
    Pair,
    advantage,
    compare_rules,
    cost_columns,
    predicted_losses,
    rules_table,
    sample_means,
    saved_table,
    spread_table,
)
from alit.tokenizer.budget import allocate_budget

LEVELS = Images(floors=0.08, noise=0.0005)  # a threshold finds the images of high loss, to which tokens bring no more
GAINS = Images(gains=0.18, noise=0.0005)  # it finds those to which tokens bring more
ALIKE = Images(noise=1e-5)


def data_of(table: pd.DataFrame, settings: AnalysisConfig = BARE) -> StudyData:
    return synthetic_study_data(table, settings, features=False)


def judge(name: str, table: pd.DataFrame, settings: AnalysisConfig = BARE) -> Claim:
    return CLAIMS[name](data_of(table, settings))


def outcomes(claim: Claim, beginning: str) -> set[str | None]:
    return {part.outcome for part in claim.measurements if part.name.startswith(beginning)}


# A1: the mean under a threshold


def test_a_threshold_lowers_the_mean_where_high_losses_are_those_that_tokens_lower():
    claim = judge("A1", adaptive_table(300, GAINS))
    assert (claim.verdict, claim.control_verdict) == ("supported", "supported")
    assert claim.headline is not None
    assert 0.01 < claim.low < claim.value < claim.high


def test_a_threshold_raises_the_mean_where_high_losses_are_those_that_tokens_leave():
    claim = judge("A1", adaptive_table(300, LEVELS))
    assert claim.verdict == "contradicted"
    assert outcomes(claim, "mean_l1") == {"contradicted"}
    assert claim.origin == "suite"


def test_a_handful_of_images_leaves_it_open():
    assert judge("A1", adaptive_table(24, Images(floors=0.04, gains=0.1, noise=0.01))).verdict == "inconclusive"


def test_it_is_contradicted_under_control_by_a_score_that_pays_for_it():
    table = adaptive_table(300, GAINS)
    fine = (
        table["length"].to_numpy() / 32 * np.where(table["l1"].groupby(table["image_id"]).transform("max") > 0.3, 0, 1)
    )
    claim = judge("A1", table.assign(ssim=fine))
    assert claim.verdict == "supported"
    assert claim.control_verdict in ("mixed", "contradicted")
    assert outcomes(claim, "mean_ssim") == {"contradicted"}


def test_losses_that_tokens_do_not_lower_measure_nothing():
    flat = adaptive_table(60, Images(floors=0.05))
    claim = judge("A1", flat.assign(l1=flat.groupby("image_id")["l1"].transform("max") + 1e-4 * flat["length"]))
    assert claim.verdict == "not measurable"
    assert "improvement of mean L1 error" in claim.reason


# A2 and A3: the promise


@pytest.mark.parametrize("differ", [LEVELS, GAINS])
def test_a_threshold_keeps_its_promise_whatever_the_mean_does(differ):
    table = adaptive_table(300, differ)
    for name in ("A2", "A3"):
        claim = judge(name, table)
        assert (claim.verdict, claim.control_verdict) == ("supported", "supported"), claim.reason


def test_images_that_nothing_saves_keep_the_worst_losses_as_they_are():
    table = adaptive_table(300, Images(floors=0.08, noise=0.0005, hopeless=0.12))
    promise, cost = judge("A2", table), judge("A3", table)
    assert promise.verdict == "mixed"
    assert outcomes(promise, "tail_l1_by_l1") == {"equivalent"}
    assert cost.verdict == "contradicted"  # any length for all gives the same worst loss, the shortest too
    assert outcomes(cost, "saved_by_l1") == {"contradicted"}


def test_where_images_are_alike_a_threshold_promises_nothing_more():
    claim = judge("A3", adaptive_table(300, ALIKE))
    assert outcomes(claim, "saved_by_l1") <= {"equivalent", "contradicted", "inconclusive"}
    assert claim.verdict in ("contradicted", "inconclusive")


# A4: the budget


def test_a_budget_lowers_the_mean_where_gains_differ_and_can_be_predicted():
    claim = judge("A4", adaptive_table(300, GAINS))
    assert (claim.verdict, claim.control_verdict) == ("supported", "supported")


def test_a_budget_is_worth_nothing_where_images_gain_alike():
    claim = judge("A4", adaptive_table(300, ALIKE))
    assert (claim.verdict, claim.control_verdict) == ("contradicted", "contradicted")
    assert outcomes(claim, "mean_l1_by") == {"equivalent"}


def test_what_cannot_be_predicted_is_gained_by_search_alone():
    generator = np.random.default_rng(0)
    rate = 5 * generator.uniform(0.05, 2, 300)[:, None]  # does not show at the shortest length
    place = np.arange(8) / 7
    claim = judge("A4", sweep_table(0.1 + 0.2 * np.exp(-rate * place)))
    assert claim.verdict == "supported"
    assert claim.control_verdict == "contradicted"


# A5: the oracle


@pytest.mark.parametrize(
    ("agree", "control"), [(True, {"supported"}), (False, {"contradicted", "mixed", "inconclusive"})]
)
def test_an_oracle_survives_another_judge_where_both_see_the_same_need(agree, control):
    claim = judge("A5", with_networks(adaptive_table(300, LEVELS), agree), TWO_NETWORKS)
    assert claim.verdict == "supported"
    assert claim.control_verdict in control


def with_trainings(table: pd.DataFrame, *others: pd.DataFrame) -> StudyData:
    """The inputs of a run whose tokenizer was trained several times, each with a table of the same images."""
    trainings = {f"seed_{number}": data_of(each, TWO_NETWORKS) for number, each in enumerate(others, start=1)}
    return data_of(table, TWO_NETWORKS)._replace(trainings=trainings)


@pytest.mark.parametrize("same", [True, False])
def test_an_oracle_of_other_trainings_gains_what_is_the_images(same):
    table = with_networks(adaptive_table(300, ALIKE), agree=True)
    other = with_networks(adaptive_table(300, ALIKE), agree=True, seed=1 if same else 2)
    other = other.sort_values(["image_id", "length"], ascending=[False, True])  # images in another order
    found = {part.name: part for part in CLAIMS["A5"](with_trainings(table, other)).measurements}
    task = next(name for name in found if "_by_retrained_" in name)
    assert found[task].bound is None
    own = found[task.replace("retrained", "oracle")]
    assert found[task].low > 0.5 * own.value if same else found[task].high < own.low
    assert (found[task].low > 0) == same


def test_an_oracle_of_other_trainings_needs_their_scores_of_every_image():
    table = with_networks(adaptive_table(100, GAINS), agree=True)
    first = table["image_id"] == table["image_id"].iloc[0]
    for other in (table[~first], table[table["length"] < 32], table.drop(columns="class_rank_strong")):
        rules = compare_rules(with_trainings(table, other)).rules
        assert "retrained_top1_strong" not in rules
    assert "retrained_top1_strong" in compare_rules(with_trainings(table, table)).rules
    assert not [name for name in compare_rules(data_of(table, TWO_NETWORKS)).rules if name.startswith("retrained")]


def test_adapting_is_judged_on_entropy_coded_bits_where_a_sweep_has_them():
    """Images that tokens help more have shorter codes: what adapting gains is larger at equal entropy-coded bits."""
    table = adaptive_table(300, GAINS)
    losses = table.pivot_table(index="image_id", columns="length", values="l1")
    gain = (losses[4] - losses[32]).to_numpy()
    cheaper = np.repeat(1.6 - 0.8 * (gain - gain.min()) / np.ptp(gain), len(LENGTHS))
    coded = table.assign(entropy_bits=6 * table["length"] * cheaper)
    grid = data_of(coded).grid
    assert cost_columns(grid) == ("tokens", "entropy_bits")
    found = {part.name: part for part in judge("A4", coded).measurements}
    at_tokens, at_bits = found["mean_l1_by_budget_60"], found["mean_l1_by_budget_60_bits"]
    assert "60% of the entropy_bits" in at_bits.statistic
    assert at_bits.column == "control"
    assert at_bits.value > at_tokens.value > 0


def test_one_network_has_no_other():
    claim = judge("A5", adaptive_table(60, LEVELS))
    assert (claim.verdict, claim.control_verdict) == ("not measurable", "not measurable")
    assert claim.reason == "no task that two networks judge"


# What all of them need


@pytest.mark.parametrize("name", CLAIMS)
def test_one_length_or_few_images_are_not_measurable(name):
    table = adaptive_table(60, LEVELS)
    for part, words in ((table[table["length"] == 8], "one length only"), (table.iloc[:40], "5 images are too few")):
        claim = judge(name, part)
        assert (claim.verdict, claim.control_verdict) == ("not measurable", "not measurable")
        assert words in claim.reason


@pytest.mark.parametrize("name", ["A1", "A3", "A4"])
def test_bits_that_are_no_multiple_of_tokens_are_a_cost_of_their_own(name):
    table = adaptive_table(120, LEVELS)
    plain = judge(name, table)
    size = np.random.default_rng(0).uniform(5, 10, 120)
    coded = table.assign(entropy_bits=table["length"] * np.repeat(size, len(LENGTHS)))
    assert cost_columns(data_of(coded).task_grid()) == ("tokens", "entropy_bits")
    more = {part.name for part in judge(name, coded).measurements} - {part.name for part in plain.measurements}
    assert more
    assert all(part.endswith("_bits") for part in more)
    assert not any(part.name.endswith("_bits") for part in plain.measurements)


# Rules


@pytest.fixture(scope="module")
def full() -> StudyData:
    return synthetic_study_data(with_model_pairs(synthetic_table(150, ("val",))), features=False)


@pytest.mark.parametrize("cost", ["tokens", "bits"])
def test_every_rule_spends_the_same_unless_it_stops_buying(full, cost):
    comparison = compare_rules(full, cost)
    for rule in comparison.rules:
        for share in comparison.shares:
            spent = comparison.at(rule, share).here.expected(comparison.costs).mean()
            assert spent <= share * comparison.most * (1 + 1e-9)
            if not rule.startswith("oracle_"):
                assert spent == pytest.approx(share * comparison.most)


def test_the_budget_is_what_encode_chooses(full):
    comparison = compare_rules(full)
    grid, family = comparison.grid, comparison.rules["budget"]
    budgets = np.ceil(np.linspace(grid.lengths[0], grid.longest, BUDGETS) * len(grid))
    for place in (3, 20, 40):
        chosen = allocate_budget(grid.score("l1"), grid.lengths.tolist(), budgets[place])
        spent = float(grid.lengths[chosen].mean())
        picked = grid.score("l1")[np.arange(len(grid)), chosen].mean()
        assert family.at(spent).here.expected(grid.score("l1")).mean() == pytest.approx(picked)


def test_no_rule_has_a_lower_mean_than_the_budget_that_knows_it(full):
    table = rules_table(full, shares=(0.4, 0.6, 0.8))
    means = table[(table["kind"] == "mean") & (table["share"] < 0.9)]
    for keys, part in means.groupby(["share", "column"]):
        _, column = tuple(keys)
        best = part.loc[part["rule"] == ("budget" if column == "l1" else f"oracle_{column}"), "advantage"].item()
        assert (part["advantage"] <= best + 2e-3).all()


def test_a_threshold_keeps_its_own_promise_for_every_image_that_can_be_served(full):
    comparison = compare_rules(full)
    promise = comparison.promise("l1", 0.6)
    kept = sample_means(comparison, [Asked("l1", 0.6, "l1", promise)], full.bootstrap).popitem()[1].rule[0]
    assert kept == pytest.approx((comparison.grid.score("l1").min(axis=1) < promise).mean())


def test_a_prediction_is_made_from_other_images():
    table = adaptive_table(100, GAINS)
    grid = data_of(table).task_grid()
    before = predicted_losses(grid)
    changed = grid.score("l1").copy()
    changed[7, 1:] = 0.9  # what is known of the image after the first iteration stays
    after = predicted_losses(data_of(sweep_table(changed)).task_grid())
    assert after[7] == pytest.approx(before[7])
    assert not np.allclose(np.delete(after, 7, axis=0), np.delete(before, 7, axis=0))
    assert before[:, 0] == pytest.approx(grid.score("l1")[:, 0])
    assert np.corrcoef(before[:, -1], grid.score("l1")[:, -1])[0, 1] > 0.9


def test_advantages_are_positive_where_a_rule_is_better_whichever_way_a_score_runs():
    pair = Pair(rule=np.array([0.2]), uniform=np.array([0.4]))
    assert advantage(pair, "l1", "mean") == pytest.approx(0.5)
    assert advantage(pair, "l1", "tail") == pytest.approx(0.5)
    assert advantage(pair, "l1", "kept") == pytest.approx(-0.2)
    assert advantage(pair, "ssim", "mean") == pytest.approx(-0.2)


# Tables


def test_the_tables_hold_every_rule_at_every_share_against_the_same_length_for_all(full):
    rules, savings, spread = rules_table(full), saved_table(full), spread_table(full)
    shares = compare_rules(full).shares
    assert set(rules["share"]) == set(savings["share"]) == set(shares)
    assert {"mean", "kept", "tail"} == set(rules["kind"])
    same = rules[rules["rule"] == "uniform"]
    assert np.abs(same[["advantage", "low", "high"]].to_numpy(dtype=float)).max() < 1e-12
    low, value, high = rules[["low", "advantage", "high"]].to_numpy(dtype=float).T
    assert (low <= value + 1e-9).all()
    assert (value <= high + 1e-9).all()
    assert not savings["rule"].str.startswith(("oracle", "crossed", "uniform")).any()
    means = spread.groupby("rule").apply(lambda part: np.average(part["length"], weights=part["images"]))
    assert means.to_numpy() == pytest.approx(0.6 * 32)
    assert spread.loc[spread["rule"] == PREDICTED, "length"].is_monotonic_increasing


@pytest.mark.parametrize("part", ["length == 8", "index < 40"])
def test_tables_have_no_rows_where_there_is_nothing_to_compare(part):
    data = data_of(adaptive_table(60, LEVELS).query(part))
    with pytest.raises(NotMeasurable, match=r"one length only|too few"):
        compare_rules(data)
    for make in (rules_table, saved_table, spread_table):
        assert make(data).empty
        assert list(make(data).columns) == list(make(data_of(adaptive_table(60, LEVELS))).columns)
