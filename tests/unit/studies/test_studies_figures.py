"""Figures: what each draws, that files are the same each time, and that every figure can be read without seeing it."""

import warnings
from itertools import islice, pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_checks import check_plot, check_text_fits, words
from figure_tables import NAMES, Tables, figure_tables
from synthetic_tables import synthetic_table

from alit.analysis.grid import to_grid
from alit.analysis.selection import BootstrapConfig
from alit.plots.style import DASHES, MARKERS, PALETTE, Plot, heat, looks_of_series, style
from alit.report.pages import training_curves
from alit.studies.complexity.figures import complexity_correlations, length_by_complexity, loss_by_complexity
from alit.studies.reconstruction.figures import rate_distortion, selected_lengths
from alit.studies.reconstruction.tables import rate_table
from alit.studies.strength.figures import depth_agreement, drop_by_strength, performance_by_strength
from alit.studies.tsc_toi.figures import (
    criteria_for_task,
    oracle_gaps,
    task_limits,
    tasks_by_capacity,
    tasks_under_criterion,
)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return figure_tables()


@pytest.fixture(scope="module")
def drawn(tables) -> dict[str, Plot]:
    return tables.drawn()


@pytest.fixture(scope="module")
def drawn_again(tables) -> dict[str, Plot]:
    return tables.drawn()


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_described_and_saved_as_the_same_bytes(name, drawn, drawn_again, tmp_path):
    check_plot(drawn[name], drawn_again[name], tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "training"])
def test_a_figure_says_how_many_images_it_is_from(name, drawn):
    assert any("n = 80" in text for text in words(drawn[name].figure))


@pytest.mark.parametrize("name", NAMES)
def test_no_text_leaves_the_figure_or_touches_a_title(name, drawn):
    check_text_fits(drawn[name].figure)


def test_drawing_leaves_no_settings_behind(tables):
    before = dict(mpl.rcParams)
    tables.drawn()
    assert dict(mpl.rcParams) == before


def test_series_differ_by_more_than_color():
    assert len(set(PALETTE)) == len(set(MARKERS)) == len(set(map(str, DASHES))) == 6


def test_series_beyond_the_sixth_have_looks_of_their_own():
    looks = list(islice(looks_of_series(), 36))
    assert len(set(looks)) == 36
    for first, second in pairwise(looks):
        assert all(ours != theirs for ours, theirs in zip(first, second, strict=True))


def test_darker_marks_are_better_whichever_way_a_measure_runs():
    def lightness(better: str, value: float) -> float:
        return sum(heat(better)(value)[:3])

    assert lightness("higher", 1.0) < lightness("higher", 0.0)
    assert lightness("lower", 0.0) < lightness("lower", 1.0)


def test_marks_of_a_task_share_one_scale_over_panels_and_figures(tables):
    limits = task_limits(tables.curves)
    one = criteria_for_task(tables.curves, "top1_strong", limits).figure
    others = [tasks_under_criterion(tables.curves, name, limits).figure for name in ("l1", "class_rank_strong")]
    scales = [marks.get_clim() for axes in one.axes for marks in axes.collections if marks.get_array() is not None]
    scales += [
        marks.get_clim()
        for figure in others
        for axes in figure.axes
        if "top-1 accuracy of strong" in axes.get_title()
        for marks in axes.collections
        if marks.get_array() is not None
    ]
    marked = [scale for scale in scales if scale == limits["top1_strong"]]
    assert len(marked) >= 5


def test_heat_marks_lie_at_threshold_and_capacity(tables):
    limits = task_limits(tables.curves)
    figure = tasks_under_criterion(tables.curves, "l1", limits).figure
    expected = tables.curves[(tables.curves["tsc"] == "l1") & (tables.curves["toi"] == "top1_strong")]
    marks = figure.axes[0].collections[-1]
    assert np.asarray(marks.get_offsets()) == pytest.approx(expected[["threshold", "capacity"]].to_numpy())
    assert np.asarray(marks.get_array()) == pytest.approx(expected["value"].to_numpy())


def test_every_criterion_and_the_uniform_baseline_are_lines_of_the_capacity_figure(tables):
    labels = tasks_by_capacity(tables.curves, tables.best).figure.axes[0].get_legend_handles_labels()[1]
    assert labels == [
        "L1 error < threshold",
        "top-X class of strong",
        "depth error of depth < threshold",
        "perceptual distance on net < threshold",
        "caption score of wordy > threshold",
        "same length for all",
        "best possible (oracle)",
    ]


@pytest.mark.parametrize(
    ("draw", "table"),
    [
        (rate_distortion, "rates"),
        (loss_by_complexity, "losses"),
        (length_by_complexity, "lengths"),
        (complexity_correlations, "correlations"),
        (selected_lengths, "counts"),
        (oracle_gaps, "gains"),
        (performance_by_strength, "strength"),
        (drop_by_strength, "strength"),
        (depth_agreement, "agreement"),
        (training_curves, "log"),
    ],
)
def test_an_empty_table_gives_a_note_instead_of_a_figure(draw, table, tables):
    plot = draw(getattr(tables, table).iloc[:0])
    (reason,) = words(plot.figure)
    assert plot.alt.lower() == f"{reason}.".lower()


def test_a_criterion_or_task_that_was_not_measured_gives_a_note(tables):
    limits = task_limits(tables.curves)
    for plot in (
        tasks_under_criterion(tables.curves, None, limits),
        criteria_for_task(tables.curves, "top1_x", limits),
    ):
        assert any("not measurable" in text for text in words(plot.figure))
        assert plot.alt.startswith("Not measurable")


def test_losses_over_more_than_a_factor_of_ten_are_on_a_log_scale(drawn):
    figure = drawn["training"].figure
    assert [axes.get_title() for axes in figure.axes] == ["loss", "late"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    assert drawn["training"].alt == "Base: from step 1 to 59, loss 2 to 0.0339, late 1 to 1."


def test_a_log_of_one_row_is_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = training_curves(pd.DataFrame({"step": [1], "loss": [0.5]}))
    assert plot.alt == "From step 1 to 1, loss 0.5 to 0.5."


def test_a_plot_shows_itself_with_its_description(drawn):
    shown = Plot(drawn["training"].figure, 'a < b & "c".')._repr_html_()
    assert 'alt="a &lt; b &amp; &quot;c&quot;."' in shown
    assert "data:image/png;base64," in shown


def test_long_names_of_task_models_do_not_run_into_each_other():
    long = {"perceptual_net": "perceptual_efficientnet_lite0_at_260_pixels", "ssim": "ssim", "psnr": "psnr"}
    table = synthetic_table(20).rename(columns=long)
    figure = rate_distortion(rate_table(to_grid(table), [*long.values()], BootstrapConfig(20, 0.95, 0))).figure
    with style():
        figure.canvas.draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 3
    assert not any(box.overlaps(other) for number, box in enumerate(boxes) for other in boxes[number + 1 :])
