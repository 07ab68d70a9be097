"""Measurements and verdicts where the answer is known: true, false, open, equivalent, not measurable."""

import math

import numpy as np
import pytest

from alit.analysis.claims import Statement
from alit.analysis.measurements import Gate, Measurement, measured, pooled
from alit.analysis.verdicts import judge_columns, outcomes

STATEMENT = Statement("C0", "Sentence.", "sec. 0", "so much", "above 0", control="the same with equal tokens")
TRUE, FALSE, OPEN = (0.2, 0.1, 0.3), (-0.2, -0.3, -0.1), (0.05, -0.05, 0.15)
TINY, NEGLIGIBLE, LARGE = (0.01, 0.002, 0.018), (0.01, -0.02, 0.04), (0.4, 0.35, 0.45)


def part(numbers: tuple[float, float, float], name: str = "a", **options) -> Measurement:
    return Measurement(name, f"statistic {name}", *numbers, 50, **({"bound": 0.0} | options))


def outcome(numbers, **options):
    return outcomes([part(numbers, **options)])[0]


# One measurement


@pytest.mark.parametrize(
    ("numbers", "options", "expected"),
    [
        (TRUE, {}, "supported"),
        (FALSE, {}, "contradicted"),
        (OPEN, {}, "inconclusive"),
        (TRUE, {"side": "below"}, "contradicted"),
        (FALSE, {"side": "below"}, "supported"),
        (TRUE, {"bound": 0.15}, "inconclusive"),
        (TRUE, {"margin": 0.05}, "supported"),
        (FALSE, {"margin": 0.05}, "contradicted"),
        (NEGLIGIBLE, {}, "inconclusive"),
        (NEGLIGIBLE, {"margin": 0.05}, "equivalent"),
        (TINY, {}, "supported"),
        (TINY, {"margin": 0.05}, "equivalent"),  # clear, and of no interest
        (OPEN, {"margin": 0.05}, "inconclusive"),
        ((0.2, math.nan, math.nan), {}, "inconclusive"),
        ((0.2, 0.2, 0.2), {}, "supported"),
        ((0.0, 0.0, 0.0), {}, "inconclusive"),
    ],
)
def test_a_difference_is_supported_contradicted_negligible_or_open(numbers, options, expected):
    assert outcome(numbers, **options) == expected


@pytest.mark.parametrize(
    ("numbers", "margin", "expected"),
    [
        (NEGLIGIBLE, 0.05, "supported"),
        (TRUE, 0.5, "supported"),
        (LARGE, 0.05, "contradicted"),
        (FALSE, 0.05, "contradicted"),
        (OPEN, 0.1, "inconclusive"),
    ],
)
def test_equivalence_is_shown_by_two_one_sided_tests_only(numbers, margin, expected):
    assert outcome(numbers, expects="equivalence", margin=margin) == expected


def test_equivalence_needs_the_narrower_interval_inside_the_margin():
    # A half-width of 1.96 standard errors leaves 1.645 of them to the margin.
    assert outcome((0.0, -0.5, 0.5), expects="equivalence", margin=0.43) == "supported"
    assert outcome((0.0, -0.5, 0.5), expects="equivalence", margin=0.41) == "inconclusive"


def test_non_inferiority_is_a_difference_beyond_the_loss_that_is_acceptable():
    assert outcome((0.06, 0.04, 0.08), bound=0.1, side="below") == "supported"
    assert outcome((0.12, 0.11, 0.13), bound=0.1, side="below") == "contradicted"


def test_p_values_agree_with_the_interval_and_with_a_normal_statistic():
    found = part((1.96, 0.0, 3.92))
    assert found.p_for == pytest.approx(0.025, abs=1e-4)
    assert found.p_against == pytest.approx(0.975, abs=1e-4)
    assert part((1.96, 0.0, 3.92), bound=1.96 - 1.645).p_for == pytest.approx(0.05, abs=1e-3)
    skewed = part((1.0, 0.5, 3.0))
    assert skewed.p_for < 0.001  # by the short side
    assert part((1.0, 0.5, 3.0), bound=3.0, side="below").p_for == pytest.approx(0.025)


@pytest.mark.parametrize("options", [{"margin": 0.0}, {"expects": "equivalence"}])
def test_a_margin_is_positive_and_equivalence_has_one(options):
    with pytest.raises(ValueError, match="expected a margin"):
        part(TRUE, **options)


def test_samples_give_value_interval_and_what_they_are_over():
    samples = np.concatenate([[0.5], np.linspace(0, 1, 1001)])
    found = measured("a", "share", samples, 0.9, 30, column="control", margin=0.1, trainings=3)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.05, 0.95))
    assert (found.column, found.trainings, found.confidence, found.outcome) == ("control", 3, 0.9, None)


def test_a_pooled_effect_is_the_mean_that_stays_paired():
    first, second = np.array([1.0, 0.0, 2.0]), np.array([3.0, 4.0, 2.0])
    np.testing.assert_allclose(pooled(first, second), [2, 2, 2])
    np.testing.assert_allclose(pooled(first, second, weights=np.array([3, 1])), [1.5, 1, 2])


# Several measurements: Holm


def test_one_contradiction_of_forty_must_survive_holm():
    barely = (-0.2, -0.38, -0.02)  # p 0.015
    assert outcome(barely) == "contradicted"
    assert "contradicted" not in outcomes([part(barely), *(part(OPEN, f"open {n}") for n in range(39))])
    clear = (-0.2, -0.25, -0.15)
    assert outcomes([part(clear), *(part(OPEN, f"open {n}") for n in range(39))])[0] == "contradicted"


def test_one_negligible_effect_of_forty_must_survive_holm_and_is_no_support_before():
    found = outcomes([part(TINY, margin=0.022), *(part(OPEN, f"open {n}", margin=0.05) for n in range(39))])
    assert outcome(TINY, margin=0.022) == "equivalent"
    assert found[0] == "inconclusive"


def test_columns_are_corrected_apart():
    barely = (-0.2, -0.38, -0.02)
    others = [part(OPEN, f"open {n}", column="control") for n in range(39)]
    judged = judge_columns([part(barely), *others], {})
    assert judged.columns["stated"].verdict == "contradicted"
    assert judged.columns["control"].verdict == "inconclusive"


# The verdict of a column


@pytest.mark.parametrize(
    ("parts", "missing", "verdict"),
    [
        ([TRUE, TRUE], [], "supported"),
        ([TRUE, OPEN], [], "partly supported"),
        ([TRUE], ["no depth"], "partly supported"),
        ([TRUE, FALSE], [], "mixed"),
        ([TRUE, NEGLIGIBLE], [], "mixed"),
        ([FALSE, OPEN], [], "contradicted"),
        ([NEGLIGIBLE, NEGLIGIBLE], [], "contradicted"),
        ([OPEN, OPEN], [], "inconclusive"),
        ([OPEN], ["no depth"], "inconclusive"),
        ([], ["no labels", "no depth"], "not measurable"),
        ([], [], "not measurable"),
    ],
)
def test_the_verdict_of_a_column_follows_from_the_outcomes(parts, missing, verdict):
    margins = [{"margin": 0.05} if numbers is NEGLIGIBLE else {} for numbers in parts]
    made = [part(each, f"part {n}", **margins[n]) for n, each in enumerate(parts)]
    judged = STATEMENT.judge(made, missing)
    assert judged.verdict == verdict
    for reason in missing:
        assert reason in judged.reason
    for each, judged_part in zip(parts, judged.measurements, strict=True):
        assert each in (TRUE,) or judged_part.name in judged.reason


def test_part_of_a_claim_is_supported_only_after_holm():
    barely = (0.2, 0.02, 0.38)
    assert STATEMENT.judge([part(barely)]).verdict == "supported"
    assert STATEMENT.judge([part(barely), part(OPEN, "b")]).verdict == "inconclusive"
    assert STATEMENT.judge([part(barely), part(barely, "b")]).verdict == "supported"  # all of them: nothing to correct


def test_columns_are_judged_apart():
    judged = STATEMENT.judge([part(TRUE), part(FALSE, "b", column="control"), part(FALSE, "c", bound=None)])
    assert (judged.verdict, judged.control_verdict) == ("supported", "contradicted")
    assert "b" in judged.control_reason
    assert [each.outcome for each in judged.measurements] == ["supported", "contradicted", None]
    judged = STATEMENT.judge([part(TRUE)], missing_control=["no second network"])
    assert (judged.control_verdict, judged.control_reason) == ("not measurable", "no second network")


def test_a_claim_without_a_control_says_so_and_takes_no_measurement_of_one():
    bare = Statement("C0", "Sentence.", "sec. 0", "so much", "above 0", no_control="it is about the codes alone")
    judged = bare.judge([part(TRUE)])
    assert (judged.control_verdict, judged.control_reason) == ("no control", "it is about the codes alone")
    with pytest.raises(ValueError, match="expected words of the control"):
        bare.judge([part(TRUE, column="control")])


def test_measurements_of_one_name_are_refused():
    with pytest.raises(ValueError, match="found several of a"):
        STATEMENT.judge([part(TRUE), part(FALSE)])


def test_the_headline_is_the_pooled_effect_and_never_the_weakest():
    assert STATEMENT.judge([part(TRUE), part(OPEN, "b", bound=None)]).value == 0.2
    several = [part(TRUE), part(OPEN, "b")]
    assert math.isnan(STATEMENT.judge(several).value)
    assert STATEMENT.judge(several).statistic == "no single effect; measurements: 1 supported, 1 inconclusive"
    judged = STATEMENT.judge(several, headline=part((0.12, 0.05, 0.2), "mean", bound=None))
    assert (judged.value, judged.statistic) == (0.12, "statistic mean")


# Gates


def gate(value: float, guards: tuple[str, ...] = ()) -> Gate:
    return Gate("knows", "accuracy on untouched images", value, value - 0.05, value + 0.05, bound=0.5, guards=guards)


def test_an_instrument_that_fails_its_gate_measures_nothing():
    judged = STATEMENT.judge([part(TRUE), part(TRUE, "b", column="control")], gates=[gate(0.52)])
    assert judged.verdict == judged.control_verdict == "not measurable"
    assert judged.reason == "accuracy on untouched images is 0.52 [0.47, 0.57], not above 0.5"
    assert STATEMENT.judge([part(TRUE)], gates=[gate(0.6)]).verdict == "supported"


def test_a_gate_takes_only_what_it_guards_out_of_the_verdict():
    judged = STATEMENT.judge([part(TRUE, "class"), part(FALSE, "depth_1")], gates=[gate(0.52, ("depth",))])
    assert judged.verdict == "partly supported"
    assert "accuracy on untouched images" in judged.reason
    assert [each.outcome for each in judged.measurements] == ["supported", None]
    alone = STATEMENT.judge([part(FALSE, "depth_1")], gates=[gate(0.52, ("depth",))])
    assert alone.verdict == "not measurable"
