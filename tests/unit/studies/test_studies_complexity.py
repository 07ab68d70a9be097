"""Complexity given codec bytes, and controlled scenes."""

import numpy as np
import pytest
from synthetic_tables import synthetic_controlled, synthetic_study_data, synthetic_table

from alit.errors import DataError
from alit.studies.complexity.tables import (
    level_table,
    measured_levels,
    partial_correlation_table,
    rise_table,
    scenes_by_level,
    tabulate,
)


def with_bytes(table, generator=None):
    """Give each image file sizes: they follow complexity, or nothing at all with a generator."""
    size = (
        table["complexity"]
        if generator is None
        else table["image_id"].map({name: generator.random() for name in table["image_id"].unique()})
    )
    return table.assign(jpeg_bytes=1000 + 10 * size, webp_bytes=800 + 9 * size)


def test_every_scored_set_is_measured_given_nothing_each_codec_and_both():
    table = partial_correlation_table(synthetic_study_data(with_bytes(synthetic_table(60))))
    assert set(table["given"]) == {"nothing", "JPEG bytes", "WebP bytes", "JPEG bytes and WebP bytes"}
    lengths = {"selected length", "length of 90% of its own improvement"}
    assert set(table["predictor"]) == {f"L1 with {k} tokens" for k in (4, 20, 32)} | lengths
    assert len(table) == 2 * 4 * 5
    assert (table.loc[table["given"] == "JPEG bytes", "value"] == 0).all()  # sizes are complexity itself here
    common = table["predictor"] != "length of 90% of its own improvement"  # which no threshold is common to
    assert (table.loc[common & (table["given"] == "nothing"), "low"] > 0.3).all()


def test_without_file_sizes_nothing_is_held_fixed():
    assert set(partial_correlation_table(synthetic_study_data(synthetic_table(40)))["given"]) == {"nothing"}
    assert partial_correlation_table(synthetic_study_data(synthetic_table(40, columns=()))).empty


# Controlled scenes


@pytest.fixture(scope="module")
def controlled():
    return synthetic_study_data(synthetic_table(40), controlled=synthetic_controlled(12))


def test_levels_hold_the_same_scenes_in_the_same_order(controlled):
    grid = controlled.controlled_scenes.dataset("texture")
    levels, scenes = scenes_by_level(grid)
    assert levels.tolist() == [0, 25, 50, 75, 100]
    assert scenes.tolist() == [[level + 5 * scene for scene in range(12)] for level in range(5)]


def test_levels_with_other_numbers_of_scenes_are_refused(controlled):
    with pytest.raises(DataError, match="as many scenes of objects at each level, found 12, 12, 12, 12, 11"):
        scenes_by_level(controlled.controlled_scenes.dataset("objects").subset(np.arange(59)))


def test_level_means_are_those_of_the_images_at_that_level(controlled):
    table = level_table(controlled)
    assert table.groupby("kind").size().to_dict() == {"loss": 3 * 5 * 8, "length": 3 * 5}
    part = table[(table["dataset"] == "background") & (table["kind"] == "loss") & (table["setting"] == 8)]
    grid = controlled.controlled_scenes.dataset("background")
    expected = [grid.score("l1")[grid.per_image("complexity") == level, 1].mean() for level in part["complexity"]]
    assert part["value"].tolist() == pytest.approx(expected)
    assert set(table["images"]) == {12}


def test_a_rise_is_paired_so_that_what_scenes_differ_in_does_not_widen_it():
    table = synthetic_controlled(12)
    scene = np.repeat(np.tile(np.repeat(np.random.default_rng(0).uniform(0, 0.5, 12), 5), 3), 9)
    differing = table.assign(l1=np.where(table["length"] > 0, table["l1"] + scene, 0))
    rises = rise_table(synthetic_study_data(synthetic_table(40), controlled=differing))
    levels = level_table(synthetic_study_data(synthetic_table(40), controlled=differing))
    losses = rises[rises["kind"] == "loss"]
    assert (losses["low"] > 0).all()
    assert (losses["high"] - losses["low"]).max() < 0.2 * (levels["high"] - levels["low"])[
        levels["kind"] == "loss"
    ].min()


def test_rises_are_tabled_by_setting_and_factor(controlled):
    table = tabulate(rise_table(controlled))
    assert table.columns.tolist() == ["objects", "texture", "background"]
    assert table.index.tolist() == [*(f"L1 with {k} tokens" for k in range(4, 33, 4)), table.index[-1]]
    assert table.index[-1].startswith("length under L1 < ")
    assert table.loc["L1 with 4 tokens", "texture"].startswith("+0.")


def test_a_profile_without_controlled_scenes_has_empty_tables():
    data = synthetic_study_data(synthetic_table(40))
    assert list(measured_levels(data)) == []
    assert level_table(data).empty
    assert rise_table(data).empty
    assert tabulate(rise_table(data)).empty
