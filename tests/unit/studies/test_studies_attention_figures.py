"""Figures of the attention study: what they draw, and that they can be read."""

import numpy as np
import pandas as pd
import pytest
from figure_checks import check_plot, check_text_fits, words
from synthetic_attention import attention_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.study_data import AnalysisConfig, StudyData
from alit.plots.style import Plot, style
from alit.studies.attention import figures, tables
from alit.studies.attention.figures import attention_halted, attention_halting, attention_maps

NAMES = ("overlap", "lead", "sparsity", "layers", "maps", "halted")


def with_thresholds(data: StudyData) -> AnalysisConfig:
    return data.settings.model_copy(update={"l1_thresholds": (0.07, 0.09)})


class Drawn:
    """The tables and figures of one study with two data sets."""

    def __init__(self) -> None:
        data = synthetic_study_data(synthetic_table(20), features=False)
        data = data._replace(tables=attention_tables(60, ("val", "photos")))
        self.tables = {
            "overlap": tables.overlap_by_iteration(data),
            "lead": tables.overlap_above_controls(data),
            "sparsity": tables.sparsity_by_iteration(data),
            "layers": tables.sparser_by_layer(data),
            "maps": tables.attention_examples(data),
            "halted": tables.halted_examples(data),
        }
        self.halting = {
            "halting": tables.halting_by_iteration(data),
            "lengths": tables.halting_lengths(data._replace(settings=with_thresholds(data))),
        }

    def plot(self, name: str, datasets: tuple[str, ...] = ("val", "photos")) -> Plot:
        table: pd.DataFrame = self.tables[name]
        return getattr(figures, f"attention_{name}")(table[table["dataset"].isin(datasets)])


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return Drawn()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_a_figure_is_the_same_file_each_time_and_describes_itself(name, drawn, tmp_path):
    check_plot(drawn.plot(name, ("val",)), drawn.plot(name, ("val",)), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_how_many_images_it_is_from_and_its_text_fits(name, drawn):
    figure = drawn.plot(name).figure
    assert any("n = 60" in text or "2 pictures" in text for text in words(figure))
    with style():
        figure.draw_without_rendering()  # lays it out
    check_text_fits(figure)


@pytest.mark.parametrize("name", NAMES)
def test_without_the_study_there_is_a_note(name, drawn):
    plot = drawn.plot(name, ())
    assert len(words(plot.figure)) == 1
    assert plot.alt.startswith("Not measurable here")


def test_each_source_of_maps_has_a_look_of_its_own_and_the_latents_the_thickest_line(drawn):
    figure = drawn.plot("overlap").figure
    assert len(figure.axes) == 2 * 9
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == list(tables.SOURCES.values())
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(lines)
    assert max(lines, key=lambda line: line.get_linewidth()).get_label() == "latents"


def test_the_bound_is_drawn_only_where_a_rule_fixes_how_much_is_kept(drawn):
    drawn_in = [
        tables.SOURCES["masks"] in [line.get_label() for line in panel.get_lines()]
        for panel in drawn.plot("overlap", ("val",)).figure.axes
    ]
    assert drawn_in == [True] * 5 + [False] * 4


def test_every_layer_has_its_change_and_only_the_shown_one_its_course(drawn):
    panel = drawn.plot("layers", ("val",)).figure.axes[0]
    places = np.concatenate([marks.lines[0].get_xdata() for marks in panel.containers])
    assert sorted(places.round()) == [1, 1, 2, 2, 3, 3]
    assert len(set(places)) == 6
    assert len(drawn.plot("sparsity", ("val",)).figure.axes[0].get_lines()) == 2


def test_leads_of_two_data_sets_do_not_cover_each_other(drawn):
    panel = drawn.plot("lead").figure.axes[0]
    heights = [np.asarray(marks.lines[0].get_ydata(), dtype=float) for marks in panel.containers]
    assert len(heights) == 2
    assert (np.abs(heights[0] - heights[1]) > 0.1).all()


def test_maps_begin_where_their_latent_does(drawn):
    figure = drawn.plot("maps").figure
    grid = np.array(figure.axes).reshape(4, 4)
    assert [bool(panel.images) for panel in grid[0]] == [True] * 4
    assert [bool(panel.images) for panel in grid[1]] == [True, False, True, True]
    assert grid[0, 1].get_xlabel() == "0.10"


def test_pictures_that_are_not_ours_carry_a_note(drawn):
    assert not any("keep them to yourself" in text for text in words(drawn.plot("maps").figure))
    table = drawn.tables["maps"].assign(publishable=False)
    assert any("keep them to yourself" in text for text in words(attention_maps(table).figure))


def test_pictures_that_are_not_ours_are_left_out_where_all_may_be_published(drawn):
    table = drawn.tables["maps"]
    assert len(attention_maps(table, public=True).figure.axes) > 1
    assert attention_maps(table.assign(publishable=False), public=True).alt.startswith("Left out: the terms")
    halted = pd.DataFrame({"picture": [b""], "publishable": [False]})
    assert attention_halted(halted, public=True).alt.startswith("Left out: the terms")


def test_halting_is_drawn_with_what_it_saves_and_costs(drawn, tmp_path):
    plot, again = (attention_halting(**drawn.halting) for _ in range(2))
    check_plot(plot, again, tmp_path)
    check_text_fits(plot.figure)
    assert "40 % of the image tokens are masked and L1 changes by +33." in plot.alt
    assert "would save 20 % of the encoder's operations, knowing them adds 50 %" in plot.alt
    assert any("n = 60" in text for text in words(plot.figure))


def test_without_rollouts_with_halting_there_is_a_note(drawn):
    empty = {name: table.iloc[:0] for name, table in drawn.halting.items()}
    assert "attention.halting is 0" in attention_halting(**empty).alt


def test_masked_tokens_are_covered_and_the_others_are_not(drawn):
    figure = drawn.plot("halted").figure
    grid = np.array(figure.axes).reshape(2, 3)
    cover = np.asarray(grid[0, 1].images[1].get_alpha())
    assert (cover > 0).sum() == 4
    assert grid[0, 2].get_xlabel() == "50 %"
