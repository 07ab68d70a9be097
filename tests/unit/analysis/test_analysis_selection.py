"""Selection, capacity and evaluation: the questions of the paper's section 4."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st
from synthetic_tables import LENGTHS, synthetic_table

from alit.analysis.grid import to_grid
from alit.analysis.selection import SelectionCriterion, capacity, evaluate, select
from alit.errors import DataError


def small(l1: list[list[float]], lengths: list[int] | None = None, **columns: list[list[float]]) -> pd.DataFrame:
    """Return a table of images (rows) by lengths (columns); lengths are 2, 4, ... unless given."""
    lengths = lengths or [2 * (i + 1) for i in range(len(l1[0]))]
    rows = [
        {"dataset": "val", "split": "val", "image_id": f"i{n}", "length": length, "l1": values[k]}
        | {name: scores[n][k] for name, scores in columns.items()}
        for n, values in enumerate(l1)
        for k, length in enumerate(lengths)
    ]
    return pd.DataFrame(rows)


def by_loops(l1: np.ndarray, lengths: np.ndarray, threshold: float) -> list[int]:
    return [next((int(k) for k, v in zip(lengths, row, strict=True) if v < threshold), int(lengths[-1])) for row in l1]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_smallest_satisfying_length_is_picked_else_the_longest(seed, threshold):
    l1 = np.random.default_rng(seed).random((7, 4))
    table = small(l1.tolist())
    picked = select(table, SelectionCriterion("l1"), threshold)
    assert picked.lengths.tolist() == by_loops(l1, np.array([2, 4, 6, 8]), threshold)
    assert picked.satisfied.tolist() == (l1 < threshold).any(axis=1).tolist()


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_stricter_threshold_never_picks_fewer_tokens(seed, first, second):
    table = small(np.random.default_rng(seed).random((7, 4)).tolist())
    strict, loose = sorted([first, second])
    assert (
        select(table, SelectionCriterion("l1"), strict).lengths
        >= select(table, SelectionCriterion("l1"), loose).lengths
    ).all()


def test_on_a_curve_that_rises_again_the_first_length_that_satisfies_counts():
    table = small([[0.3, 0.1, 0.5, 0.05]])
    assert select(table, SelectionCriterion("l1"), 0.2).lengths.tolist() == [4]


def test_a_threshold_is_strict_so_that_top_x_means_a_rank_below_x():
    table = small([[0.0, 0.0, 0.0]], class_rank_net=[[5, 1, 0]])
    ranks = [select(table, SelectionCriterion("class_rank_net"), x).lengths[0] for x in (0, 1, 2, 5, 6)]
    assert ranks == [6, 6, 4, 4, 2]


def test_a_score_where_higher_is_better_is_selected_from_above():
    table = small([[0.0, 0.0, 0.0]], ssim=[[0.5, 0.8, 0.9]])
    picked = select(table, SelectionCriterion("ssim", "above"), 0.75)
    assert picked.lengths.tolist() == [4]
    assert picked.satisfied.tolist() == [True]


def test_the_untouched_image_is_never_picked():
    table = small([[0.0, 0.4, 0.2]], lengths=[0, 2, 4])
    assert select(table, SelectionCriterion("l1"), 0.5).lengths.tolist() == [2]
    assert to_grid(table).lengths.tolist() == [2, 4]
    assert to_grid(table).clean["l1"].tolist() == [0.0]


def test_images_without_a_score_are_left_out_and_counted():
    table = small([[0.4, 0.2], [0.4, 0.2], [0.1, 0.1]], class_rank_net=[[1, 0], [np.nan, np.nan], [0, 0]])
    picked = select(table, SelectionCriterion("class_rank_net"), 1)
    assert picked.excluded == 1
    assert picked.to_frame()["length"].tolist() == [4, 2]
    assert capacity(picked, base_tokens=4) == pytest.approx(0.75)
    evaluated = evaluate(table, picked, "l1")
    assert evaluated == pytest.approx((0.15, 2, 1))


def test_a_selection_without_any_score_is_refused():
    table = small([[0.4, 0.2]], class_rank_net=[[np.nan, np.nan]])
    with pytest.raises(DataError, match=r"class_rank_net.*only nulls"):
        select(table, SelectionCriterion("class_rank_net"), 1)


def test_capacity_is_the_share_of_base_tokens_and_evaluate_the_mean_over_picked_rows():
    table = small([[0.4, 0.2], [0.1, 0.05]], psnr=[[10.0, 20.0], [30.0, 40.0]])
    picked = select(table, SelectionCriterion("l1"), 0.3)
    assert capacity(picked, base_tokens=8) == pytest.approx((4 + 2) / (2 * 8))
    assert evaluate(table, picked, "psnr").value == pytest.approx((20 + 30) / 2)


def test_accuracy_is_the_share_of_picked_images_whose_class_has_rank_0():
    table = small([[0.4, 0.2], [0.1, 0.05]], class_rank_net=[[3, 0], [1, 0]])
    assert evaluate(table, select(table, SelectionCriterion("l1"), 0.3), "top1_net").value == 0.5


def test_the_order_of_rows_does_not_matter():
    table = synthetic_table(20)
    shuffled = table.sample(frac=1, random_state=0)
    picked = select(table, SelectionCriterion("l1"), 0.08).to_frame()
    again = select(shuffled, SelectionCriterion("l1"), 0.08).to_frame()
    key = ["dataset", "image_id"]
    pd.testing.assert_frame_equal(picked.sort_values(key, ignore_index=True), again.sort_values(key, ignore_index=True))


def test_folded_rows_point_back_into_the_table():
    table = synthetic_table(5).sample(frac=1, random_state=0)
    grid = to_grid(table)
    assert np.array_equal(table["l1"].to_numpy()[grid.rows], grid.score("l1"))
    assert np.array_equal(table["length"].to_numpy()[grid.rows], np.tile(LENGTHS, (len(grid), 1)))
    assert (table["length"].to_numpy()[grid.clean_rows] == 0).all()


def test_the_same_id_in_two_data_sets_is_two_images():
    table = synthetic_table(5)
    table["image_id"] = table["image_id"].str.split("-").str[1]
    assert len(to_grid(table)) == 10


def test_nullable_and_narrow_columns_are_read_as_numbers():
    table = synthetic_table(5)
    table["class_rank_strong"] = table["class_rank_strong"].astype("Int32")
    table.loc[0:8, "class_rank_strong"] = pd.NA
    table["l1"] = table["l1"].astype("float32")
    grid = to_grid(table)
    assert np.isnan(grid.score("class_rank_strong")[0]).all()
    assert np.isnan(grid.score("top1_strong")[0]).all()
    assert grid.score("l1").dtype == np.float64


def test_data_sets_can_be_put_in_another_order():
    grid = to_grid(synthetic_table(4, ("far", "near", "val"))).arranged(["val", "missing", "near"])
    assert grid.datasets == ("val", "near", "far")
    assert grid.images["image_id"].iloc[0] == "val-00000"
    assert grid.rows[0, 0] == 8 * 9 + 1


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda table: table.drop(columns="image_id"), "column 'image_id', found dataset"),
        (lambda table: table.iloc[:0], "found an empty one"),
        (lambda table: table.drop(index=4), r"image val-00000 of val at \[0, 4, 8, 12, 20"),
        (lambda table: pd.concat([table, table.iloc[[4]]]), r"val-00000 of val at \[0, 4, 8, 12, 16, 16, 20"),
        (lambda table: table[table["length"] == 0], "only untouched images"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(break_it, words):
    with pytest.raises(DataError, match=words) as caught:
        to_grid(break_it(synthetic_table(3)))
    assert "\n" not in str(caught.value)


def test_an_unknown_column_or_data_set_is_named_with_those_there_are():
    grid = to_grid(synthetic_table(3))
    with pytest.raises(DataError, match=r"'lpips'.*found bits, class_rank_strong"):
        grid.score("lpips")
    with pytest.raises(DataError, match=r"'far'.*found val, near"):
        grid.dataset("far")


def test_a_selection_of_other_images_is_refused():
    grid = to_grid(synthetic_table(3))
    picked = select(grid, SelectionCriterion("l1"), 0.1)
    with pytest.raises(DataError, match="selection of 3 images, found one of 6"):
        evaluate(grid.dataset("val"), picked, "l1")


@pytest.mark.slow
def test_the_benchmark_runs_and_reports_seconds_and_memory():
    script = ROOT / "benchmarks" / "selection_speed.py"
    command = [sys.executable, str(script), "--images", "200", "--thresholds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {"seconds", "peak_gib"} <= set(json.loads(done.stdout))
