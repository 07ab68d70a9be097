"""Curves over thresholds, bootstrap intervals and Fréchet distances."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_tables import LENGTHS, synthetic_table

from alit.analysis.bootstrap import estimate, interval, resampled, resampled_indices, resampled_means
from alit.analysis.grid import to_grid
from alit.analysis.selection import (
    BootstrapConfig,
    CurveSamples,
    SelectionCriterion,
    allocate_by_threshold,
    at_tokens,
    capacity,
    covering_allocation,
    covering_thresholds,
    curve_rows,
    evaluate,
    mean_advantage,
    mean_tokens_needed,
    middle_threshold,
    sample_curve,
    select,
    tokens_to_reach,
    uniform_allocation,
)
from alit.errors import DataError
from alit.studies.complexity.tables import binned_losses, correlation_table, error_correlations
from alit.studies.reconstruction.tables import length_counts

HOW = BootstrapConfig(resamples=300, confidence=0.95, seed=3)


@pytest.fixture(scope="module")
def grid():
    return to_grid(synthetic_table(120, ("val",)))


def curve(tokens, values) -> CurveSamples:
    return CurveSamples(np.atleast_2d(np.array(tokens, float)), np.atleast_2d(np.array(values, float)))


def rows_of(grid, allocation, task):
    return curve_rows(grid, allocation, task, sample_curve(grid, allocation, task, HOW), 64, HOW)


def test_a_curve_says_what_selecting_at_each_threshold_says(grid):
    thresholds = [0.05, 0.07, 0.1]
    table = rows_of(grid, allocate_by_threshold(grid, SelectionCriterion("l1"), thresholds), "depth_error_depth")
    for (_, row), threshold in zip(table.iterrows(), thresholds, strict=True):
        picked = select(grid, SelectionCriterion("l1"), threshold)
        assert row["capacity"] == pytest.approx(capacity(picked, 64))
        assert row["value"] == pytest.approx(evaluate(grid, picked, "depth_error_depth").value)
        assert row["satisfied"] == picked.satisfied.sum()
        assert row["low"] < row["value"] < row["high"]


def test_the_uniform_allocation_is_the_mean_at_each_length(grid):
    table = rows_of(grid, uniform_allocation(grid), "l1")
    assert table["value"].to_numpy() == pytest.approx(grid.score("l1").mean(axis=0))
    assert table["capacity"].to_numpy() == pytest.approx(np.array(LENGTHS) / 64)


@pytest.mark.parametrize("column", ["l1", "depth_error_depth", "class_rank_strong"])
def test_covering_thresholds_run_from_the_longest_for_all_to_the_shortest_for_all(grid, column):
    allocation = covering_allocation(grid, column)
    tokens = grid.lengths[allocation.positions].mean(axis=0)
    assert tokens[0] == LENGTHS[-1]
    assert tokens[-1] == LENGTHS[0]
    assert (np.diff(tokens) <= 0).all()


def test_every_small_rank_is_a_threshold_whatever_the_number_of_classes(grid):
    ranks = np.random.default_rng(0).integers(1000, size=grid.rows.shape).astype(float)
    many = replace(grid, scores=dict(grid.scores) | {"class_rank_many": ranks})
    thresholds = covering_thresholds(many, "class_rank_many")
    assert set(range(11)) <= set(thresholds)
    assert thresholds[-1] == ranks.max() + 1
    assert len(thresholds) <= 65
    tokens = many.lengths[allocate_by_threshold(many, SelectionCriterion("class_rank_many"), thresholds).positions]
    assert (-np.diff(tokens.mean(axis=0))).max() < 0.15 * LENGTHS[-1]  # no wide gap in the curve


def test_among_few_classes_every_rank_is_a_threshold(grid):
    few = replace(grid, scores=dict(grid.scores) | {"class_rank_few": grid.rows % 3 * 1.0})
    assert covering_thresholds(few, "class_rank_few").tolist() == [0, 1, 2, 3]


def test_a_curve_over_images_without_scores_is_refused(grid):
    scores = dict(grid.scores) | {"l1": np.where(np.arange(120)[:, None] == 3, np.nan, grid.score("l1"))}
    holed = type(grid)(grid.images, grid.lengths, scores, grid.clean, grid.rows, grid.clean_rows)
    with pytest.raises(DataError, match="all 120 images, found 1 without"):
        allocate_by_threshold(holed, SelectionCriterion("l1"), [0.1])
    assert len(holed.complete(["l1"])) == 119


def test_values_between_two_points_are_interpolated_and_outside_unknown():
    line = curve([8, 4, 16], [2.0, 1.0, 3.0])
    assert at_tokens(line, 6.0) == pytest.approx([1.5])
    assert np.isnan(at_tokens(line, 20.0)).all()


def test_each_resample_can_be_read_where_another_rule_spends_its_tokens():
    line = CurveSamples(np.array([[4.0, 8.0], [4.0, 8.0]]), np.array([[0.0, 1.0], [1.0, 3.0]]))
    assert at_tokens(line, np.array([6.0, 5.0])) == pytest.approx([0.5, 1.5])


def test_tokens_needed_on_average_are_the_mean_over_all_shares_of_the_change():
    line = curve([0, 4, 8, 20], [1.0, 0.4, 0.3, 0.0])
    shares = np.linspace(0.0005, 0.9995, 1000)
    assert mean_tokens_needed(line) == pytest.approx(np.mean([tokens_to_reach(line, s) for s in shares]), rel=1e-3)
    assert mean_tokens_needed(curve([0, 10], [0.0, 1.0])) == pytest.approx([5.0])
    assert np.isnan(mean_tokens_needed(curve([0, 10], [1.0, 1.0]))).all()


def test_the_advantage_of_a_constantly_better_curve_is_the_difference():
    better, worse = curve([4, 8, 16], [2.0, 3.0, 4.0]), curve([2, 4, 8, 16], [0.0, 1.5, 2.5, 3.5])
    assert mean_advantage(better, worse) == pytest.approx([0.5], abs=1e-3)
    assert mean_advantage(worse, better) == pytest.approx([-0.5], abs=1e-3)


def test_curves_without_common_tokens_have_no_advantage():
    assert np.isnan(mean_advantage(curve([2, 4], [0, 1]), curve([6, 8], [0, 1]))).all()


def test_the_tokens_for_a_share_of_the_improvement_work_for_rising_and_falling_tasks():
    assert tokens_to_reach(curve([0, 10, 20], [0.0, 0.8, 1.0]), 0.4) == pytest.approx([5.0])
    assert tokens_to_reach(curve([20, 10, 0], [1.0, 1.2, 2.0]), 0.9) == pytest.approx([15.0])
    assert np.isnan(tokens_to_reach(curve([0, 10], [1.0, 1.0]), 0.5)).all()


def test_points_with_the_same_tokens_are_averaged():
    assert at_tokens(curve([4, 4, 8], [1.0, 3.0, 4.0]), 4.0) == pytest.approx([2.0])


def test_bootstrap_means_are_seeded_paired_and_centered():
    values = np.random.default_rng(0).normal(size=(200, 2))
    first, again = resampled_means(values, 500, 1), resampled_means(values, 500, 1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, resampled_means(values, 500, 2))
    shifted = resampled_means(values + 1.0, 500, 1)
    assert shifted - first == pytest.approx(np.ones_like(first))
    assert first[0] == pytest.approx(values.mean(axis=0))
    assert first[1:].std(axis=0) == pytest.approx(values.std(axis=0) / np.sqrt(200), rel=0.15)


def test_bootstrap_means_are_means_of_the_drawn_images():
    values = np.random.default_rng(0).normal(size=(30, 1))
    indices = np.concatenate(list(resampled_indices(30, 20, 5)))
    assert resampled_means(values, 20, 5)[1:, 0] == pytest.approx(values[indices, 0].mean(axis=1))
    statistic = resampled(lambda drawn: values[drawn, 0].mean(axis=1), 30, 20, 5)
    assert statistic == pytest.approx(resampled_means(values, 20, 5)[:, 0])


def test_a_percentile_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = interval(resampled_means(generator.normal(size=(60, 1)), 200, trial), 0.9)
        covered += bool(low[0] <= 0 <= high[0])
    assert 0.8 < covered / 200 < 0.97


def test_correlations_name_every_predictor_and_codec_bytes_where_the_table_has_them():
    table = synthetic_table(60)
    table["jpeg_bytes"] = 100 + table["complexity"]
    rows = correlation_table(to_grid(table), [0.05, 0.08], HOW)
    assert set(rows["dataset"]) == {"val", "near"}
    assert rows["kind"].value_counts().to_dict() == {"loss": 16, "length": 4, "codec": 2}
    assert rows.loc[rows["kind"] == "codec", "value"].tolist() == pytest.approx([1.0, 1.0])


def test_errors_are_compared_by_how_much_worse_they_get_with_complexity():
    table = synthetic_table(60)
    table["jpeg_bytes"] = 100 - table["complexity"]
    table["ssim"] = 1 - (table["complexity"] + table["length"]) / 1000
    table.loc[table["dataset"] == "near", "perceptual_net"] = np.nan
    rows = error_correlations(to_grid(table), ["l1", "ssim", "perceptual_net"], HOW).set_index("dataset")
    assert rows.loc["val", "kind"].value_counts().to_dict() == {
        "L1 error": 3,
        "SSIM": 3,
        "perceptual distance on net": 3,
        "codec": 1,
    }
    assert set(rows.loc["near", "kind"]) == {"L1 error", "SSIM", "codec"}
    assert rows.loc[rows["kind"] == "SSIM", "value"].tolist() == pytest.approx([1.0] * 6)
    assert rows.loc[rows["kind"] == "codec", "value"].tolist() == pytest.approx([-1.0] * 2)


def test_bins_of_complexity_hold_every_image_once(grid):
    table = binned_losses(grid, HOW)
    assert table.groupby("setting")["in_bin"].sum().unique().tolist() == [120]
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_equal_complexities_share_a_bin():
    table = synthetic_table(60, ("val",))
    table["complexity"] = np.where(table["complexity"] < 70, 10.0, 90.0)
    bins = binned_losses(to_grid(table), HOW)
    assert sorted(bins["complexity"].unique()) == [10.0, 90.0]


def test_the_middle_threshold_does_not_look_at_complexity(grid):
    thresholds = [0.01, 0.05, 0.06, 0.3]
    tokens = [select(grid, SelectionCriterion("l1"), threshold).lengths.mean() for threshold in thresholds]
    expected = thresholds[int(np.argmin(np.abs(np.array(tokens) - 18)))]
    shuffled = grid.images.assign(complexity=grid.images["complexity"].to_numpy()[::-1])
    blind = type(grid)(shuffled, grid.lengths, grid.scores, grid.clean, grid.rows, grid.clean_rows)
    assert middle_threshold(grid, thresholds) == middle_threshold(blind, thresholds) == expected


def test_counts_of_lengths_add_up_and_tell_the_unsatisfied(grid):
    counts = length_counts(grid, allocate_by_threshold(grid, SelectionCriterion("l1"), [0.01, 0.06, 1.0]))
    assert counts.groupby("threshold")["images"].sum().tolist() == [120, 120, 120]
    assert counts.groupby("threshold")["unsatisfied"].sum().tolist()[0] == 1.0
    assert counts.loc[(counts["threshold"] == 1.0) & (counts["length"] == 4), "share"].item() == 1.0


def test_estimates_put_the_value_first():
    assert estimate(np.array([5.0, 1.0, 2.0, 3.0]), 0.5) == pytest.approx((5.0, 1.5, 2.5))
