"""Figures of complexity given codec bytes, of controlled scenes, of familiarity, and of rates on a bits axis."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from figure_checks import check_plot, check_text_fits, words
from synthetic_tables import synthetic_controlled, synthetic_study_data, synthetic_table
from unfamiliar_tables import with_training_images

from alit.analysis.grid import to_grid
from alit.plots.style import Plot
from alit.studies.complexity.figures import controlled_scenes, partial_correlations
from alit.studies.complexity.tables import level_table, partial_correlation_table, rise_table
from alit.studies.familiarity import tables as familiarity
from alit.studies.familiarity.figures import detection, familiarity_gaps, within_sets
from alit.studies.reconstruction.figures import rate_distortion_by_bits
from alit.studies.reconstruction.tables import rates_by_bits


@pytest.fixture(scope="module")
def tables() -> dict[str, tuple[pd.DataFrame, ...]]:
    """What each figure is drawn from."""
    table = synthetic_table(60, ("val", "near", "far"))
    sizes = table.assign(jpeg_bytes=table["complexity"] + table["length"].min() + 50)
    data = synthetic_study_data(sizes, controlled=synthetic_controlled(12))
    familiar = synthetic_study_data(with_training_images(table))
    sweeps = {"alit": data.grid, "jpeg": to_grid(synthetic_table(60, ("val",), lengths=(10, 40, 80)))}
    return {
        "given_codecs": (partial_correlation_table(data),),
        "controlled": (level_table(data), rise_table(data)),
        "gaps": (familiarity.gap_table(data),),
        "within_sets": (familiarity.within_sets(familiar),),
        "detection": (familiarity.detection_table(familiar),),
        "bits": (rates_by_bits(sweeps, "val", data.bootstrap),),
    }


DRAW: dict[str, Callable[..., Plot]] = {
    "given_codecs": partial_correlations,
    "controlled": controlled_scenes,
    "gaps": familiarity_gaps,
    "within_sets": within_sets,
    "detection": detection,
    "bits": rate_distortion_by_bits,
}


@pytest.fixture(scope="module")
def drawn(tables) -> dict[str, Plot]:
    return {name: draw(*tables[name]) for name, draw in DRAW.items()}


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.slow
def test_it_is_whole_described_and_says_how_many_images_it_is_from(name, tables, drawn, tmp_path):
    check_plot(drawn[name], DRAW[name](*tables[name]), tmp_path)
    check_text_fits(drawn[name].figure)
    images = "n = 12 scenes" if name == "controlled" else "n = 60"
    assert any(images in text for text in words(drawn[name].figure))


@pytest.mark.parametrize("name", DRAW)
def test_an_empty_table_gives_a_note(name, tables):
    plot = DRAW[name](*(table.iloc[:0] for table in tables[name]))
    (reason,) = words(plot.figure)
    assert plot.alt.lower() == f"{reason}.".lower()


def test_marks_of_one_row_lie_above_each_other_without_touching_the_next(drawn):
    panel = drawn["given_codecs"].figure.axes[0]
    heights = sorted({round(float(y), 6) for bar in panel.containers for y in bar.lines[0].get_ydata()})
    assert len(heights) == 5 * 2  # predictors x (given nothing, given JPEG bytes)
    rows = np.round(heights)
    assert np.diff(heights)[np.diff(rows) > 0].min() > np.diff(heights)[np.diff(rows) == 0].max() * 0.7


def test_compared_panels_share_their_scales(drawn):
    limits = [panel.get_ylim() for panel in drawn["controlled"].figure.axes]
    assert len(set(limits[:3])) == len(set(limits[3:])) == 1
    assert len({panel.get_xlim() for panel in drawn["detection"].figure.axes}) == 1


def test_gaps_stand_in_the_order_of_familiarity_with_their_numbers_of_images(drawn, tables):
    panels = drawn["gaps"].figure.axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "val (n = 60)",
        "near (n = 60)",
        "far (n = 60)",
    ]
    (gaps,) = tables["gaps"]
    first = panels[0].containers[0].lines[0].get_xdata()
    expected = gaps[(gaps["measure"] == "l1") & (gaps["length"] == 4)]["value"]
    assert list(first) == pytest.approx(list(expected))


def test_a_measure_of_fewer_images_says_so(tables):
    fewer = tables["gaps"][0].copy()
    fewer.loc[fewer["measure"] == "frechet_net", "images"] = 40
    titles = [panel.get_title() for panel in familiarity_gaps(fewer).figure.axes]
    assert [("n = 40" in title) for title in titles] == [False, True, False, False, False]


def test_a_number_of_images_is_never_broken_over_lines():
    table = partial_correlation_table(synthetic_study_data(synthetic_table(40, ("a_data_set_of_a_rather_long_name",))))
    title = partial_correlations(table).figure.axes[0].get_title()
    assert title.split("\n") == ["a_data_set_of_a_rather_long_name", "(n = 40)"]


def test_every_tokenizer_has_a_line_over_its_own_bits(drawn):
    panel = drawn["bits"].figure.axes[0]
    assert [len(line.get_xdata()) for line in panel.lines] == [8, 3]
    assert panel.get_xscale() == "log"
    assert {text for text in words(drawn["bits"].figure) if "n = " in text} == {"alit (n = 60)", "jpeg (n = 60)"}
