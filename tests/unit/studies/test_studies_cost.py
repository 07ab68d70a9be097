"""What encoding costs: medians over rounds, and claim C17."""

import numpy as np
import pandas as pd
import pytest
from synthetic_comparison import LENGTHS, cost_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.selection import BootstrapConfig
from alit.studies import assess
from alit.studies.cost.tables import (
    cost_table,
    one_pass_networks,
    round_times,
    sample_medians,
    summary,
    until_over_one_pass,
)


def study_data(**options):
    return synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=cost_tables(**options))


def claim(**options):
    return assess(study_data(**options), ["C17"])[0]


def test_times_are_arranged_by_round_and_length():
    lengths, milliseconds = round_times(cost_tables()["cost_times"], "own", "encode")
    assert lengths.tolist() == list(LENGTHS)
    assert milliseconds.shape == (12, 4)
    assert milliseconds.mean(axis=0) == pytest.approx([12, 14, 16, 18], rel=0.05)


def test_a_slow_round_does_not_move_the_median():
    _, milliseconds = round_times(cost_tables()["cost_times"], "own", "encode")
    disturbed = milliseconds.copy()
    disturbed[3] *= 50
    bootstrap = BootstrapConfig(200, 0.95, 0)
    np.testing.assert_allclose(
        sample_medians(disturbed, bootstrap)[0], sample_medians(milliseconds, bootstrap)[0], rtol=0.05
    )


def test_rounds_are_drawn_whole_so_that_a_slow_machine_does_not_hide_a_rise():
    noisy = claim(noise=0.0, rise=0.5)
    assert noisy.verdict == "supported"


def test_the_table_has_a_row_for_each_operation_and_length():
    table = cost_table(study_data())
    assert len(table) == 3 * len(LENGTHS) + 3 * len(LENGTHS) + 2 + 2
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert ((table["fast"] <= table["value"]) & (table["value"] <= table["slow"])).all()
    assert np.isnan(summary(table).loc[("jpeg", "encode and decode", 20), "GFLOP"])


def test_the_network_of_one_pass_is_the_one_whose_operations_do_not_grow_and_are_fewest():
    counts = cost_tables()["cost_counts"]
    looped = counts[counts["tokenizer"] == "nested"].assign(tokenizer="looped", gflop=0.3)
    grows = counts[counts["tokenizer"] == "own"].assign(tokenizer="grows", gflop=lambda rows: 0.01 * rows["iteration"])
    more = pd.concat([counts, looped, grows], ignore_index=True)
    assert one_pass_networks(more) == dict.fromkeys(LENGTHS, "nested")
    assert one_pass_networks(counts[counts["tokenizer"] != "nested"]) == {}


def test_c17_is_supported_where_longer_takes_longer_and_one_pass_takes_longer_still():
    found = claim()
    assert (found.verdict, found.control_verdict) == ("supported", "supported"), found.reason
    parts = {part.name: part for part in found.measurements}
    assert {"encode_longest_ms", "encode_over_fixed", "decode_over_fixed"} <= set(parts)
    assert parts["encode_trend"].value == pytest.approx(2 / 18, rel=0.1)
    assert parts["until_over_one_pass"].value == pytest.approx(np.mean([12, 14, 16, 18]) / 30, rel=0.05)
    assert parts["until_shortest_over_one_pass"].value == pytest.approx(12 / 30, rel=0.05)
    assert parts["until_over_one_pass_32"].bound is None
    assert parts["known_over_one_pass_4"].value == pytest.approx(12 / 30, rel=0.05)
    ratios = until_over_one_pass(study_data())
    assert ratios["network"].tolist() == ["nested"] * len(LENGTHS)
    assert ratios["known"].to_numpy() == pytest.approx(np.array([12, 14, 16, 18]) / 30, rel=0.05)
    assert ((ratios["low"] < ratios["value"]) & (ratios["value"] < ratios["high"])).all()
    assert found.headline is not None
    assert found.headline.name == "encode_shortest_share"


@pytest.mark.parametrize(
    ("one_pass", "verdict"), [(5.0, "contradicted"), (14.0, "mixed"), (12.0, "contradicted"), (30.0, "supported")]
)
def test_c17_is_under_control_only_where_encoding_until_is_cheaper_than_one_pass(one_pass, verdict):
    """At 14 ms stopping at the shortest length saves, and the mean over lengths does not."""
    found = claim(one_pass=one_pass, noise=0.002)
    assert found.verdict == "supported"
    assert found.control_verdict == verdict, found.control_reason


def test_c17_has_no_control_without_a_network_of_one_pass():
    tables = {name: table[table["tokenizer"] != "nested"] for name, table in cost_tables().items()}
    (found,) = assess(synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=tables), ["C17"])
    assert found.verdict == "supported"
    assert found.control_verdict == "not measurable"
    assert "no network of one pass" in found.control_reason


def test_c17_is_contradicted_where_all_lengths_take_the_same():
    assert claim(rise=-0.5).verdict == "contradicted"
    same = claim(rise=0.0, noise=0.005)
    assert same.verdict == "contradicted"
    assert "equivalent" in same.reason
    undecided = claim(rise=0.0, noise=0.3)
    assert undecided.verdict == "inconclusive"


def test_the_steps_of_c17_are_told_at_once_and_decide_nothing():
    found = claim(noise=0.05)
    steps = [part for part in found.measurements if part.name.startswith("encode_") and part.name[-1].isdigit()]
    assert len(steps) == len(LENGTHS) - 1
    assert not any(part.decides for part in steps)
    assert all(part.low < part.value < part.high for part in steps)


@pytest.mark.parametrize(("rounds", "verdict"), [(5, "not measurable"), (6, "supported")])
def test_c17_needs_as_many_rounds_as_an_interval_of_a_median(rounds, verdict):
    found = claim(rounds=rounds)
    assert found.verdict == verdict
    assert ("needs 6" in found.reason) == (verdict == "not measurable")


def test_c17_needs_times():
    nothing = synthetic_study_data(synthetic_table(20, ("val",)))
    assert cost_table(nothing).empty
    assert summary(cost_table(nothing)).empty
    (found,) = assess(nothing, ["C17"])
    assert found.verdict == "not measurable"
