"""Gates of classifiers and depth networks: passed, failed, and absent where a table holds nothing to check by."""

import numpy as np
import pytest
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.grid import to_grid
from alit.analysis.instruments import knows_untouched_images, sees_depth

RULES = ("depth_rank_agreement_blind_lower", "depth_rank_agreement_blind_center")


@pytest.mark.parametrize(("right", "passes"), [(0.9, True), (0.52, False), (0.2, False)])
def test_a_classifier_must_clearly_be_right_on_most_untouched_images(right, passes):
    table = synthetic_table(200, ("val", "near"))
    number = table["image_id"].str[-3:].astype(int) / 200
    table.loc[table["length"] == 0, "class_rank_strong"] = np.where(number[table["length"] == 0] < right, 0.0, 7.0)
    (found,) = knows_untouched_images(synthetic_study_data(table), "top1_strong", ["top1_"])
    assert found.value == pytest.approx(right)
    assert found.passes == passes
    assert found.guards_measurement("top1_strong_over_l1")
    assert not found.guards_measurement("depth_error_depth_over_l1")


def test_without_untouched_images_there_is_nothing_to_ask():
    table = synthetic_table(30, ("val",))
    assert knows_untouched_images(synthetic_study_data(table[table["length"] > 0]), "top1_strong", []) == []
    assert sees_depth(synthetic_study_data(table), "depth", []) == []


def agreeing(table, network, lower, center):
    """Return a table of depth agreements, the same for all images but for noise."""
    noise = np.random.default_rng(0).normal(scale=0.02, size=(3, len(table)))
    columns = ("depth_rank_agreement_depth", *RULES)
    return table.assign(**dict(zip(columns, noise + np.array([[network], [lower], [center]]), strict=True)))


@pytest.mark.parametrize(("network", "passes"), [(0.6, True), (0.47, False), (0.35, False)])
def test_a_depth_network_must_see_more_than_the_better_of_two_blind_rules(network, passes):
    data = synthetic_study_data(agreeing(synthetic_table(60, ("val",)), network, 0.3, 0.47))
    (found,) = sees_depth(data, "depth", ["depth_error_depth_"])
    assert found.value == pytest.approx(network - 0.47, abs=0.02)
    assert found.passes == passes


def test_a_depth_network_is_asked_on_the_sets_that_check_it_where_its_own_has_no_depth():
    table = agreeing(synthetic_table(40, ("val", "other", "check")), 0.6, 0.3, 0.47)
    table.loc[table["dataset"] == "val", [*RULES, "depth_rank_agreement_depth"]] = np.nan
    table.loc[table["dataset"] == "check", "depth_rank_agreement_depth"] = 0.2
    check = table["dataset"] == "check"
    data = synthetic_study_data(table[~check])._replace(checks=to_grid(table[check]))
    (found,) = sees_depth(data, "depth", [])
    assert not found.passes
    assert "40 untouched images of check" in found.statistic
    (found,) = sees_depth(data._replace(checks=None), "depth", [])
    assert found.passes
    assert "of other" in found.statistic
