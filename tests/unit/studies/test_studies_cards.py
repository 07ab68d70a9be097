"""Figures of the studies' cards: every study has one that can be read on light and dark pages, or says why not."""

from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from figure_checks import check_description, check_plot, check_text_fits, words
from figure_tables import figure_tables
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from strength_tables import with_model_pairs
from synthetic_attention import attention_tables
from synthetic_codebook import codebook_tables, synthetic_ids
from synthetic_comparison import ablation_tables, cost_tables
from synthetic_probe import probe_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.plots.card import DARK, LIGHT, SERIES, SIZE, CardFigure, interval_card, line_card
from alit.plots.style import style
from alit.studies import STUDIES
from alit.studies.ablations.tables import headline_rates
from alit.studies.adaptivity.tables import rules_table
from alit.studies.attention.tables import overlap_above_controls
from alit.studies.codebook.tables import use_by_length
from alit.studies.cost.tables import ENCODE, cost_table
from alit.studies.familiarity.tables import gap_table
from alit.studies.probe.tables import probe_scores

MEASURED = {
    **attention_tables(60, ("val", "photos")),
    **codebook_tables({"val": synthetic_ids(), "near": synthetic_ids(used=0.3, seed=1)}),
    **probe_tables(noise=0.1),
    **ablation_tables(),
    **cost_tables(),
}


@cache
def arguments() -> dict[str, tuple[Any, ...]]:
    """What each study's notebook draws its card from, in little: tables first."""
    swept = synthetic_study_data(with_model_pairs(synthetic_table(60, ("val", "near", "far"))))
    data, tables = swept._replace(tables=MEASURED), figure_tables()
    return {
        "reconstruction": (tables.rates, "val"),
        "complexity": (tables.lengths,),
        "familiarity": (gap_table(data),),
        "tsc_toi": (tables.curves, tables.best, "top1_strong"),
        "adaptivity": (rules_table(data),),
        "strength": (tables.strength,),
        "probe": (probe_scores(data),),
        "attention": (overlap_above_controls(data),),
        "codebook": (use_by_length(data),),
        "ablations": (headline_rates(data),),
        "cost": (cost_table(data).query("operation == @ENCODE", local_dict={"ENCODE": ENCODE}),),
    }


def card(study: str, *given: Any) -> CardFigure:
    return import_module(f"alit.studies.{study}.figures").card(*(given or arguments()[study]))


@cache
def drawn(study: str) -> CardFigure:
    return card(study)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors, from 1 to 21 (WCAG 2, relative luminance)."""

    def luminance(color: str) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_has_a_card_that_names_its_finding_and_describes_what_is_seen(study, tmp_path):
    check_plot(drawn(study).light, card(study).light, tmp_path)
    check_description(drawn(study).light.title)
    assert len(drawn(study).light.title) < 200


@pytest.mark.parametrize("study", STUDIES)
def test_a_card_can_be_read_on_light_and_on_dark_pages(study):
    light, dark = drawn(study)
    assert (light.title, light.alt) == (dark.title, dark.alt)
    for plot, colors in ((light, LIGHT), (dark, DARK)):
        with style():
            plot.figure.draw_without_rendering()
        check_text_fits(plot.figure)
        assert tuple(plot.figure.get_size_inches()) == SIZE
        texts = [text for text in plot.figure.findobj(Text) if text.get_text()]
        assert all(text.get_fontsize() >= 8.5 for text in texts)
        assert {to_hex(text.get_color()) for text in texts} == {colors.ink}
    assert words(light.figure) == words(dark.figure)
    assert len(words(light.figure)) < 30
    (panel,) = light.figure.axes
    for each in (*light.figure.legends, *light.figure.texts):
        box = each.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= light.figure.bbox.width + 1
    boxes = [label.get_window_extent() for label in panel.get_xticklabels() if label.get_text()]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))


@pytest.mark.parametrize("study", STUDIES)
def test_a_card_without_data_says_why_and_finds_nothing(study):
    table, *others = arguments()[study]
    empty = card(study, table.iloc[:0], *(each.iloc[:0] if isinstance(each, pd.DataFrame) else each for each in others))
    assert empty.light.title == empty.dark.title == ""
    assert empty.light.alt.lower().startswith("no")  # "not measurable here", "no measurements"


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_colors_differ_from_their_ground(colors):
    assert len(colors.series) == SERIES
    assert all(contrast(each, colors.ground) >= 3 for each in colors.series)
    assert all(contrast(each, colors.ground) >= 4.5 for each in (colors.ink, colors.quiet))


def test_a_line_is_drawn_with_its_band_and_described_by_its_ends():
    line = pd.DataFrame({"name": "a", "length": [8, 4], "value": [0.25, 0.5], "low": [0.2, 0.4], "high": [0.3, 0.6]})
    falls = line_card("It falls.", line, series="name", across="length", x="tokens", y="loss", shares="y")
    assert falls.light.alt == (
        "Lines with 95 % intervals, loss against tokens: a 50.0% [40.0%, 60.0%] at 4 to 25.0% [20.0%, 30.0%] at 8."
    )
    (panel,) = falls.dark.figure.axes
    assert [*panel.lines[0].get_xydata().ravel()] == [4, 0.5, 8, 0.25]
    assert panel.lines[0].get_color() == DARK.series[0]
    assert len(panel.collections) == 1
    one = line_card("It stays.", line.iloc[:1], series="name", across="length", x="tokens", y="loss")
    assert one.light.alt.endswith("loss against tokens: a 0.25 [0.2, 0.3] at 8.")
    assert len(one.light.figure.axes[0].containers) == 1  # its bar


def test_a_card_draws_the_first_lines_in_their_order():
    names = [f"line {number}" for number in range(SERIES + 2)]
    lines = pd.DataFrame({"name": names[::-1], "at": 1, "value": 0.5, "low": 0.4, "high": 0.6})
    card = line_card("Many.", lines, series="name", across="at", x="tokens", y="loss")
    assert legend(card.light.figure) == names[::-1][:SERIES]


def test_marks_of_a_card_lie_below_each_other_with_their_intervals():
    rows = pd.DataFrame({"row": ["x", "y"], "series": ["a", "b"], "value": [1, -2], "low": [0, -3], "high": [2, -1]})
    rises = interval_card("One rises.", rows, x="change", reference=0)
    assert rises.light.alt == "Marks with 95 % intervals, change: x 1 [0, 2]; y -2 [-3, -1]."
    (panel,) = rises.light.figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["x", "y"]
    assert [list(each[0].get_xdata()) for each in panel.containers] == [[1], [-2]]
    assert legend(rises.light.figure) == ["a", "b"]
