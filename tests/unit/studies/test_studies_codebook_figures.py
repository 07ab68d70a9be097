"""Figures of the codebook study."""

from collections.abc import Callable

import numpy as np
import pytest
from figure_checks import check_description, check_files, check_text_fits, words
from matplotlib.figure import Figure
from synthetic_codebook import codebook_tables, continuous_tables, synthetic_ids
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.study_data import StudyData
from alit.studies.codebook import tables as codebook
from alit.studies.codebook.figures import (
    closest_pairs,
    closest_pairs_alt,
    codebook_usage,
    codebook_usage_alt,
    codebook_use,
    codebook_use_alt,
    kept_tokens,
    kept_tokens_alt,
    nearest_images,
    nearest_images_alt,
)

SWEPT = synthetic_study_data(synthetic_table(60, ("val", "near")), features=False)
FULL = SWEPT._replace(tables=codebook_tables({"val": synthetic_ids(), "near": synthetic_ids(used=0.3, seed=1)}))
EMPTY = SWEPT._replace(tables=continuous_tables())

Drawn = tuple[Figure, str]


def _usage(seen: StudyData) -> Drawn:
    table = codebook.usage_curves(seen)
    return codebook_usage(table), codebook_usage_alt(table)


def _use(seen: StudyData) -> Drawn:
    table = codebook.codebook_use(seen)
    return codebook_use(table), codebook_use_alt(table)


def _kept(seen: StudyData) -> Drawn:
    table = codebook.kept_shares(seen)
    return kept_tokens(codebook.kept_map(seen), table), kept_tokens_alt(table)


def _nearest(seen: StudyData) -> Drawn:
    tables = codebook.nearest_images(seen), codebook.label_agreement(seen)
    return nearest_images(*tables), nearest_images_alt(*tables)


def _pairs(seen: StudyData) -> Drawn:
    table = codebook.closest_pairs(seen)
    return closest_pairs(table), closest_pairs_alt(table)


@pytest.fixture(params=[_usage, _use, _kept, _nearest, _pairs], ids=lambda draw: draw.__name__[1:])
def draw(request) -> Callable[[StudyData], Drawn]:
    return request.param


def test_figures_are_whole_described_and_the_same_each_time(draw, tmp_path):
    figure, alt = draw(FULL)
    check_files(figure, draw(FULL)[0], alt, tmp_path)
    check_description(alt)
    check_text_fits(figure)
    assert any("n = 60" in text for text in words(figure))


def test_without_ids_a_figure_is_a_note(draw):
    figure, alt = draw(EMPTY)
    assert any("not measurable here" in text for text in words(figure))
    assert alt.startswith("Not measurable here")


def test_usage_lines_end_where_codes_stop_occurring():
    figure, _ = _usage(FULL)
    broad, narrow = (panel.lines[-1].get_xdata()[-1] for panel in figure.axes)
    assert broad > 0.9
    assert narrow <= 0.35


def test_the_map_has_a_cell_for_each_earlier_token_of_each_iteration():
    figure, _ = _kept(FULL)
    cells = figure.axes[0].collections[0].get_array()
    assert cells.shape == (2, 4)
    assert np.ma.getmaskarray(cells).tolist() == [[False, False, True, True], [False] * 4]
    assert figure.axes[0].collections[0].get_clim() == (0, 1)


def test_pairs_without_pictures_say_why():
    hidden = SWEPT._replace(tables=codebook_tables({"val": synthetic_ids()}, shown=()))
    figure, alt = _pairs(hidden)
    assert "may be shown" in alt
    assert words(figure) == {alt[0].lower() + alt[1:-1]}


def test_sets_without_labels_leave_the_panel_of_labels_to_the_others():
    bare = synthetic_study_data(synthetic_table(60, ("val",), columns=()), features=False)
    figure, alt = _nearest(bare._replace(tables=codebook_tables({"val": synthetic_ids()})))
    assert "labels unknown" in words(figure)
    assert "label" not in alt
