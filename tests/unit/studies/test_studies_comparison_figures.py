"""Figures of the ablation and cost studies: readable, described, the same bytes each time, and drawn without tables."""

import pandas as pd
import pytest
from figure_checks import check_plot, check_text_fits, words
from synthetic_comparison import ablation_tables, cost_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.plots.style import Plot
from alit.studies.ablations.figures import changes_by_length, one_pass_or_many, paired_changes
from alit.studies.ablations.tables import comparison_table, headline_rates
from alit.studies.cost.figures import cost_by_length
from alit.studies.cost.tables import DECODE, ENCODE, ENCODE_UNTIL, cost_table

FIGURES = ("one_pass_or_many", "paired_changes", "by_length", "encode", "encode_until", "decode")


def drawn(tables: dict[str, pd.DataFrame]) -> dict[str, Plot]:
    """Every figure by name."""
    data = synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=tables)
    costs = cost_table(data)
    operations = {"encode": ENCODE, "encode_until": ENCODE_UNTIL, "decode": DECODE}
    return {
        "one_pass_or_many": one_pass_or_many(headline_rates(data)),
        "paired_changes": paired_changes(comparison_table(data)),
        "by_length": changes_by_length(comparison_table(data, by_length=True).query("factor == 'continuous'")),
        **{name: cost_by_length(costs, operation) for name, operation in operations.items()},
    }


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {**ablation_tables(), **cost_tables()}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.slow
def test_it_is_described_fits_and_is_the_same_bytes_each_time(name, tables, tmp_path):
    plot = drawn(tables)[name]
    check_plot(plot, drawn(tables)[name], tmp_path)
    check_text_fits(plot.figure)


@pytest.mark.parametrize("name", FIGURES)
def test_without_tables_it_says_so(name):
    plot = drawn({})[name]
    assert any("not measurable" in text for text in words(plot.figure))
    assert plot.alt.startswith("Not measurable here")


def test_the_headline_names_trainings_and_images(tables):
    figure = drawn(tables)["one_pass_or_many"].figure
    assert {"plain (3 trainings)", "nested (3 trainings)", "a network per length (3 trainings)"} <= words(figure)
    assert "mean L1 error (n = 40)" in words(figure)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_every_change_has_its_row_in_each_panel(tables):
    figure = drawn(tables)["paired_changes"].figure
    assert len(figure.axes) == 2
    assert "recurrence:\nplain rather than nested" in words(figure)


def test_changes_by_length_have_a_mark_at_each_length(tables):
    figure = drawn(tables)["by_length"].figure
    assert list(figure.axes[0].lines[0].get_xdata()) == [4, 8, 16, 32]
    assert "continuous rather than plain" in words(figure)


def test_costs_name_threads_and_images(tables):
    figure = drawn(tables)["encode"].figure
    assert any("a CPU, 1 thread, n = 12" in text for text in words(figure))


def test_a_tokenizer_has_one_color_in_all_figures_of_costs(tables):
    data = synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=tables)
    costs = cost_table(data)
    first = costs["tokenizer"].iat[0]
    without = costs[(costs["tokenizer"] != first) | (costs["operation"] != ENCODE_UNTIL)]
    colors = [
        {line.get_label(): line.get_color() for line in cost_by_length(without, operation).figure.axes[0].lines}
        for operation in (ENCODE, ENCODE_UNTIL)
    ]
    assert first not in colors[1]
    assert len(colors[1]) > 1
    assert {name: color for name, color in colors[0].items() if name in colors[1]} == colors[1]
