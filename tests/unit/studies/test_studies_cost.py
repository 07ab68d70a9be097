"""What encoding costs: medians over rounds, and claim C17."""

import numpy as np
import pytest
from synthetic_comparison import LENGTHS, cost_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.selection import BootstrapConfig
from alit.studies import assess
from alit.studies.cost.tables import cost_table, round_times, sample_medians, summary


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
    assert len(table) == 3 * len(LENGTHS) + 2 + 2
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert ((table["fast"] <= table["value"]) & (table["value"] <= table["slow"])).all()
    assert np.isnan(summary(table).loc[("jpeg", "encode and decode", 20), "GFLOP"])


def test_c17_holds_where_each_length_takes_longer():
    found = claim()
    assert found.verdict == "supported"
    names = {part.name for part in found.measurements}
    assert {"encode_longest_ms", "encode_over_fixed", "decode_over_fixed"} <= names


def test_c17_does_not_hold_where_all_lengths_take_the_same():
    assert claim(rise=-0.5).verdict == "does not hold"
    undecided = claim(rise=0.0, noise=0.05)
    assert undecided.verdict == "does not hold"
    assert "straddles" in undecided.reason


def test_c17_needs_times():
    nothing = synthetic_study_data(synthetic_table(20, ("val",)))
    assert cost_table(nothing).empty
    assert summary(cost_table(nothing)).empty
    (found,) = assess(nothing, ["C17"])
    assert found.verdict == "not measurable"
