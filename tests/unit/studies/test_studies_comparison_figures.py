"""Figures of the ablation and cost studies: readable, described, the same bytes each time, and drawn without tables."""

import pandas as pd
import pytest
from figure_checks import check_description, check_files, check_text_fits, words
from synthetic_comparison import ablation_tables, cost_tables
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.studies.ablations import tables as ablations
from alit.studies.ablations.figures import one_pass_or_many, one_pass_or_many_alt, paired_changes, paired_changes_alt
from alit.studies.cost import tables as cost
from alit.studies.cost.figures import cost_by_length, cost_by_length_alt

FIGURES = ("one_pass_or_many", "paired_changes", "encode", "encode_until", "decode")


def drawn(tables):
    """Every figure with its description, by name."""
    data = synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=tables)
    rates = ablations.headline_rates(data)
    compared = ablations.comparison_table(data)
    costs = cost.cost_table(data)
    operations = {"encode": cost.ENCODE, "encode_until": cost.ENCODE_UNTIL, "decode": cost.DECODE}
    return {
        "one_pass_or_many": (one_pass_or_many(rates), one_pass_or_many_alt(rates)),
        "paired_changes": (paired_changes(compared), paired_changes_alt(compared)),
        **{
            name: (cost_by_length(costs, operation), cost_by_length_alt(costs, operation))
            for name, operation in operations.items()
        },
    }


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {**ablation_tables(), **cost_tables()}


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_described_fits_and_is_the_same_bytes_each_time(name, tables, tmp_path):
    (figure, alt), (again, _) = (drawn(tables)[name] for _ in range(2))
    check_description(alt)
    check_files(figure, again, alt, tmp_path)
    check_text_fits(figure)


@pytest.mark.parametrize("name", FIGURES)
def test_without_tables_it_says_so(name):
    figure, alt = drawn({})[name]
    assert any("not measurable here" in text for text in words(figure))
    assert alt.startswith("Not measurable here")


def test_the_headline_names_trainings_and_images(tables):
    figure, _ = drawn(tables)["one_pass_or_many"]
    assert {"plain (3 trainings)", "nested (3 trainings)", "a network per length (3 trainings)"} <= words(figure)
    assert "mean L1 error (n = 40)" in words(figure)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_every_change_has_its_row_in_each_panel(tables):
    figure, _ = drawn(tables)["paired_changes"]
    assert len(figure.axes) == 2
    assert "recurrence:\nplain rather than nested" in words(figure)


def test_costs_name_threads_and_images(tables):
    figure, _ = drawn(tables)["encode"]
    assert any("a CPU, 1 thread, n = 12" in text for text in words(figure))
