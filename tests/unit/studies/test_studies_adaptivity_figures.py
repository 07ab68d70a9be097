"""Figures of the adaptivity study."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from figure_checks import check_plot, check_text_fits, words
from strength_tables import with_model_pairs
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.study_data import StudyData
from alit.plots.style import Plot
from alit.studies.adaptivity import tables
from alit.studies.adaptivity.figures import means_by_share, promises_by_share, tokens_by_group


@cache
def swept() -> StudyData:
    return synthetic_study_data(with_model_pairs(synthetic_table(60, ("val",))), features=False)


@cache
def rules():
    return tables.rules_table(swept())


@cache
def savings():
    return tables.saved_table(swept())


@cache
def spread():
    return tables.spread_table(swept())


DRAW: dict[str, Callable[[], Plot]] = {
    "means": lambda: means_by_share(rules()),
    "promises": lambda: promises_by_share(rules(), savings()),
    "who": lambda: tokens_by_group(spread()),
}


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.slow
def test_figures_are_whole_described_and_the_same_each_time(name, tmp_path):
    plot = DRAW[name]()
    check_plot(plot, DRAW[name](), tmp_path)
    check_text_fits(plot.figure)
    assert any("n = 60" in text for text in words(plot.figure))


def test_empty_tables_give_a_note():
    for plot in (
        means_by_share(rules().iloc[:0]),
        promises_by_share(rules().iloc[:0], savings()),
        tokens_by_group(spread().iloc[:0]),
    ):
        assert plot.alt.startswith("Not measurable here")


def test_a_panel_shows_the_oracles_of_its_own_score_only():
    figure = DRAW["means"]().figure
    shown = {axes.get_title().replace("\n", " "): axes.get_legend_handles_labels()[1] for axes in figure.axes}
    l1 = next(labels for title, labels in shown.items() if "L1" in title)
    accuracy = next(labels for title, labels in shown.items() if "top-1" in title)
    assert l1 == ["L1 < threshold", "budget by L1", "budget by predicted L1"]
    assert set(accuracy) - set(l1) == {
        "threshold on the task itself",
        "oracle: budget by the task itself",
        "oracle of another network",
    }


def test_lines_lie_at_the_advantages_of_the_table():
    line = DRAW["promises"]().figure.axes[0].get_lines()[0]
    part = rules()[(rules()["kind"] == "kept") & (rules()["rule"] == "l1")].sort_values("share")
    assert np.asarray(line.get_ydata()) == pytest.approx(part["advantage"].to_numpy(dtype=float))
