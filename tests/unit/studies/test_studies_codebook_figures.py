"""Figures of the codebook study."""

from collections.abc import Callable

import numpy as np
import pytest
from figure_checks import check_plot, check_text_fits, words
from synthetic_codebook import codebook_tables, continuous_tables, synthetic_ids
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.study_data import StudyData
from alit.plots.style import Plot
from alit.studies.codebook import tables
from alit.studies.codebook.figures import (
    closest_pairs,
    codebook_usage,
    codebook_use,
    kept_tokens,
    nearest_images,
    retrieval,
    surviving_ids,
)

SWEPT = synthetic_study_data(synthetic_table(60, ("val", "near")), features=False)
FULL = SWEPT._replace(tables=codebook_tables({"val": synthetic_ids(), "near": synthetic_ids(used=0.3, seed=1)}))
EMPTY = SWEPT._replace(tables=continuous_tables())
DRAW: dict[str, Callable[[StudyData], Plot]] = {
    "usage": lambda data: codebook_usage(tables.usage_curves(data)),
    "use": lambda data: codebook_use(tables.use_by_length(data)),
    "kept": lambda data: kept_tokens(tables.kept_map(data), tables.kept_shares(data)),
    "survival": lambda data: surviving_ids(tables.prefix_survival(data)),
    "retrieval": lambda data: retrieval(tables.retrieval_by_length(data)),
    "nearest": lambda data: nearest_images(tables.nearest_shares(data), tables.label_agreement(data)),
    "pairs": lambda data: closest_pairs(tables.shown_pairs(data)),
}


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.slow
def test_figures_are_whole_described_and_the_same_each_time(name, tmp_path):
    plot = DRAW[name](FULL)
    check_plot(plot, DRAW[name](FULL), tmp_path)
    check_text_fits(plot.figure)
    assert any("n = 60" in text for text in words(plot.figure))


@pytest.mark.parametrize("name", DRAW)
def test_without_ids_a_figure_is_a_note(name):
    plot = DRAW[name](EMPTY)
    assert any("not measurable" in text for text in words(plot.figure))
    assert plot.alt.startswith("Not measurable here")


def test_usage_lines_end_where_codes_stop_occurring():
    figure = DRAW["usage"](FULL).figure
    broad, narrow = (panel.lines[-1].get_xdata()[-1] for panel in figure.axes)
    assert broad > 0.9
    assert narrow <= 0.35


def test_the_map_has_a_cell_for_each_earlier_token_of_each_iteration():
    figure = DRAW["kept"](FULL).figure
    cells = figure.axes[0].collections[0].get_array()
    assert cells.shape == (2, 4)
    assert np.ma.getmaskarray(cells).tolist() == [[False, False, True, True], [False] * 4]
    assert figure.axes[0].collections[0].get_clim() == (0, 1)


def test_what_survives_has_a_cell_for_each_pair_of_iterations():
    figure = DRAW["survival"](FULL).figure
    cells = figure.axes[0].collections[0].get_array()
    assert np.ma.getmaskarray(cells).tolist() == [[False, False], [True, False]]


def test_pairs_without_pictures_say_why():
    hidden = SWEPT._replace(tables=codebook_tables({"val": synthetic_ids()}, shown=()))
    plot = DRAW["pairs"](hidden)
    assert "may be shown" in plot.alt
    assert words(plot.figure) == {plot.alt[0].lower() + plot.alt[1:-1]}


def test_sets_without_labels_leave_the_panel_of_labels_to_the_others():
    bare = synthetic_study_data(synthetic_table(60, ("val",), columns=()), features=False)
    plot = DRAW["nearest"](bare._replace(tables=codebook_tables({"val": synthetic_ids()})))
    assert "labels unknown" in words(plot.figure)
    assert "label" not in plot.alt
