"""Figures of the probe study."""

import numpy as np
import pytest
from figure_checks import check_plot, check_text_fits, words
from synthetic_probe import probe_tables, unlabeled_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.studies.probe.figures import probe_by_iteration, probe_by_latents, probe_grids, probe_parity
from alit.studies.probe.tables import parity_table, probe_scores

SWEPT = synthetic_study_data(synthetic_table(60, ("val",)), features=False)
SCORES = probe_scores(SWEPT._replace(tables=probe_tables(noise=0.1)))
PARITY = parity_table(SWEPT._replace(tables=probe_tables(noise=0.1, fixed=0.05)))
EMPTY = probe_scores(SWEPT._replace(tables=unlabeled_tables()))
FIGURES = (probe_by_iteration, probe_by_latents, probe_grids)


@pytest.mark.parametrize("draw", FIGURES)
def test_figures_are_whole_described_and_the_same_each_time(draw, tmp_path):
    plot = draw(SCORES)
    check_plot(plot, draw(SCORES), tmp_path)
    check_text_fits(plot.figure)
    assert any("n = 400" in text for text in words(plot.figure))


@pytest.mark.parametrize("draw", FIGURES)
def test_without_probes_a_figure_is_a_note(draw):
    plot = draw(EMPTY)
    assert words(plot.figure) == {"not measurable here: no probes"}
    assert plot.alt == "Not measurable here: no probes."


def test_heat_maps_share_one_scale_and_write_each_accuracy():
    figure = probe_grids(SCORES).figure
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert {axes.get_title() for axes in maps} == {"latents", "image tokens and latents", "latents, quantized"}
    assert len({axes.collections[0].get_clim() for axes in maps}) == 1
    for axes in maps:
        cells = axes.collections[0].get_array()
        assert cells.shape == (4, 4)
        assert int((~np.ma.getmaskarray(cells)).sum()) == len(axes.texts) == 10


def test_the_latents_are_drawn_from_both_ends_and_as_an_early_stop():
    (panel,) = probe_by_latents(SCORES).figure.axes
    assert len(panel.containers) == 3
    older = SCORES[SCORES["tokens"] != "last latents"]  # tables that were kept before they were probed
    assert len(probe_by_latents(older).figure.axes[0].containers) == 2


def test_parity_has_a_panel_for_each_kind_of_tokens_and_a_row_for_each_pair(tmp_path):
    plot = probe_parity(PARITY, 0.02)
    check_plot(plot, probe_parity(PARITY, 0.02), tmp_path)
    check_text_fits(plot.figure)
    assert [axes.get_title() for axes in plot.figure.axes] == ["image tokens", "latents", "image tokens and latents"]
    assert "fixed (4)" in words(plot.figure)
    assert words(probe_parity(PARITY.iloc[:0], 0.02).figure) == {
        "not measurable here: no variants with a fixed length were probed"
    }


def test_controls_share_the_scale_of_the_lines():
    lines, controls = probe_by_iteration(SCORES).figure.axes
    assert lines.get_ylim() == controls.get_xlim()
    assert len(controls.patches) == 5


def test_the_description_names_the_best_control():
    assert "base tokens, coarse grid" in probe_by_iteration(SCORES).alt
