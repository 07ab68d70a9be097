"""Figures of the probe study."""

import numpy as np
import pytest
from figure_checks import check_description, check_files, check_text_fits, words
from synthetic_probe import probe_tables, unlabeled_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.studies.probe import tables as probe
from alit.studies.probe.figures import (
    probe_by_iteration,
    probe_by_iteration_alt,
    probe_by_latents,
    probe_by_latents_alt,
    probe_grids,
    probe_grids_alt,
)

SWEPT = synthetic_study_data(synthetic_table(60, ("val",)), features=False)
SCORES = probe.probe_scores(SWEPT._replace(tables=probe_tables(noise=0.1)))
EMPTY = probe.probe_scores(SWEPT._replace(tables=unlabeled_tables()))
FIGURES = {
    "by_iteration": (probe_by_iteration, probe_by_iteration_alt),
    "by_latents": (probe_by_latents, probe_by_latents_alt),
    "grids": (probe_grids, probe_grids_alt),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_whole_described_and_the_same_each_time(name, tmp_path):
    draw, describe = FIGURES[name]
    figure, alt = draw(SCORES), describe(SCORES)
    check_files(figure, draw(SCORES), alt, tmp_path)
    check_description(alt)
    check_text_fits(figure)
    assert any("n = 400" in text for text in words(figure))


@pytest.mark.parametrize("name", FIGURES)
def test_without_probes_a_figure_is_a_note(name):
    draw, describe = FIGURES[name]
    assert words(draw(EMPTY)) == {"not measurable here: no probes"}
    assert describe(EMPTY) == "Not measurable here: no probes."


def test_heat_maps_share_one_scale_and_write_each_accuracy():
    figure = probe_grids(SCORES)
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert {axes.get_title() for axes in maps} == {"latents", "image tokens and latents", "latents, quantized"}
    assert len({axes.collections[0].get_clim() for axes in maps}) == 1
    for axes in maps:
        cells = axes.collections[0].get_array()
        assert cells.shape == (4, 4)
        assert int((~np.ma.getmaskarray(cells)).sum()) == len(axes.texts) == 10


def test_controls_stand_beside_the_lines_on_their_scale():
    lines, controls = probe_by_iteration(SCORES).axes
    assert lines.get_ylim() == controls.get_xlim()
    assert len(controls.patches) == 5


def test_the_description_names_the_best_control():
    assert "base tokens, coarse grid" in probe_by_iteration_alt(SCORES)
