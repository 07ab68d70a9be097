"""Which pictures are shown where, and how they are drawn."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from synthetic_pictures import LENGTHS, synthetic_pictures

from alit.analysis.pictures import (
    COLUMNS,
    read_pictures,
    shown_beside_baselines,
    shown_by_complexity,
    shown_of_variants,
)
from alit.analysis.sweep_folder import SweepFolder
from alit.paths import RunPaths
from alit.plots.pictures import MOST_COLUMNS, column_blocks, picture_grid


def test_pictures_are_ordered_by_complexity_and_by_tokens():
    shown = shown_by_complexity(synthetic_pictures(6), images=3, lengths=2)
    assert shown["row"].unique().tolist() == ["complexity 40", "complexity 60", "complexity 90"]
    assert shown["column"].unique().tolist() == ["original", "4 tokens", "32 tokens"]
    assert (shown["kind"] == "own").all()


def test_a_baseline_is_shown_in_about_as_many_bits_as_the_most_tokens():
    shown = shown_beside_baselines(synthetic_pictures(), images=2, lengths=2)
    # 32 tokens of 10 bits: of JPEG's 40 and 640 bits the latter is the nearer on a scale of ratios
    assert shown["column"].unique().tolist() == [
        "original",
        "4 tokens",
        "32 tokens",
        "base, 640 bits",
        "jpeg, 640 bits",
    ]
    assert shown["complexity"].is_monotonic_decreasing
    assert len(shown) == 2 * 5


def test_variants_stand_in_the_order_asked_for_with_the_original_last():
    table = synthetic_pictures()
    short = (table["tokenizer"] == "width") & (table["length"] == LENGTHS[-1])
    shown = shown_of_variants(table.loc[~short], ["width", "nobody", "plain"], images=2, lengths=3)
    assert shown["column"].unique().tolist() == ["width", "plain", "original"]
    assert shown["row"].unique().tolist() == [
        f"complexity {level}, {length} tokens" for level in (60, 90) for length in (4, 8, 16)
    ]
    assert len(shown) == 3 * 6
    assert shown_of_variants(table, ["nobody"], images=2, lengths=3).empty


def test_a_picture_lies_where_its_row_and_column_say():
    shown = shown_by_complexity(synthetic_pictures(), images=4, lengths=4)
    plot = picture_grid(shown)
    panels = np.reshape(plot.figure.axes, (4, 5))
    drawn = panels[1, 2].images[0].get_array()  # the image before the last, at 8 tokens
    np.testing.assert_allclose(drawn[0, 0], np.array([80, 24, 100]) / 255, atol=1e-6)
    assert panels[0, 0].get_title() == "original"
    assert panels[1, 2].get_xlabel() == "L1 0.050"
    assert panels[1, 0].get_xlabel() == ""
    assert plot.alt.startswith("4 images of val: original, 4 tokens")


@pytest.mark.parametrize("originals", ["first", "last", "none"])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 13, 30])
def test_many_columns_are_parted_into_blocks_that_all_have_the_originals(count, originals):
    others = [f"tokenizer {number}" for number in range(count)]
    columns = {"first": ["original", *others], "last": [*others, "original"], "none": others}[originals]
    blocks = column_blocks(columns, None if originals == "none" else "original")
    assert [name for block in blocks for name in block if name != "original"] == others
    assert all(len(block) <= MOST_COLUMNS for block in blocks)
    assert len(blocks) == 1 or max(map(len, blocks)) - min(map(len, blocks)) < MOST_COLUMNS / 2
    if originals != "none":
        assert all(block[0 if originals == "first" else -1] == "original" for block in blocks)


def test_names_of_many_columns_do_not_overlap():
    shown = shown_beside_baselines(synthetic_pictures(), images=2, lengths=2)
    one = shown.loc[shown["column"] == "base, 640 bits"]
    names = ["over_a_published_base", "a_network_of_one_length", "webp", "brief_nested", "taesd", "avif", "base", "x"]
    plot = picture_grid(pd.concat([shown, *(one.assign(column=f"{name}, 24576 bits") for name in names)]))
    plot.figure.draw_without_rendering()
    boxes = [panel.title.get_window_extent() for panel in plot.figure.axes if panel.get_title()]
    assert len(boxes) == 4 + 9 + 1  # the originals twice
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize("show", [shown_by_complexity, shown_beside_baselines])
def test_without_pictures_there_is_a_note(show, tmp_path):
    nothing = read_pictures(SweepFolder(tmp_path))
    assert tuple(nothing.columns) == COLUMNS
    assert picture_grid(show(nothing, 3, 3)).alt.startswith("No pictures")


def test_the_pictures_of_a_run_are_read(tmp_path):
    paths = RunPaths(tmp_path, "toy")
    paths.examples.mkdir(parents=True)
    synthetic_pictures().to_parquet(paths.pictures)
    found = read_pictures(SweepFolder(paths.sweep, tmp_path, "toy"))
    assert len(found) == len(synthetic_pictures())
    assert isinstance(found["picture"].iloc[0], bytes)
