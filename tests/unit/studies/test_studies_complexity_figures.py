"""Figures of complexity beside codecs, of controlled scenes, of familiarity, and of rates on a bits axis."""

import numpy as np
import pytest
from figure_checks import check_description, check_files, check_text_fits, words
from synthetic_tables import synthetic_controlled, synthetic_study_data, synthetic_table

from alit.analysis.grid import to_grid
from alit.studies.complexity.figures import (
    controlled_complexity,
    controlled_complexity_alt,
    partial_correlations,
    partial_correlations_alt,
)
from alit.studies.complexity.tables import level_table, partial_table, rise_table
from alit.studies.familiarity.figures import detection, detection_alt, familiarity_gaps, familiarity_gaps_alt
from alit.studies.familiarity.tables import detection_table, gap_table
from alit.studies.reconstruction import tables as rates
from alit.studies.reconstruction.figures import rate_distortion_by_bits, rate_distortion_by_bits_alt

NAMES = ("given_codecs", "controlled", "gaps", "detection", "bits")


class Tables:
    """What the figures are drawn from."""

    def __init__(self) -> None:
        table = synthetic_table(60, ("val", "near", "far"))
        sizes = table.assign(jpeg_bytes=table["complexity"] + table["length"].min() + 50)
        data = synthetic_study_data(sizes, controlled=synthetic_controlled(12))
        self.given_codecs = partial_table(data)
        self.controlled, self.rises = level_table(data), rise_table(data)
        self.gaps = gap_table(data)
        self.detection = detection_table(data)
        sweeps = {"alit": data.grid, "jpeg": to_grid(synthetic_table(60, ("val",), lengths=(10, 40, 80)))}
        self.bits = rates.rates_by_bits(sweeps, "val", data.bootstrap)

    def drawn(self):
        return {
            "given_codecs": (
                partial_correlations(self.given_codecs),
                partial_correlations_alt(self.given_codecs),
            ),
            "controlled": (controlled_complexity(self.controlled), controlled_complexity_alt(self.rises)),
            "gaps": (familiarity_gaps(self.gaps), familiarity_gaps_alt(self.gaps)),
            "detection": (detection(self.detection), detection_alt(self.detection)),
            "bits": (rate_distortion_by_bits(self.bits), rate_distortion_by_bits_alt(self.bits)),
        }


@pytest.fixture(scope="module")
def tables():
    return Tables()


@pytest.fixture(scope="module")
def drawn(tables):
    return tables.drawn()


@pytest.fixture(scope="module")
def drawn_again(tables):
    return tables.drawn()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_whole_described_and_says_how_many_images_it_is_from(name, drawn, drawn_again, tmp_path):
    figure, alt = drawn[name]
    check_files(figure, drawn_again[name][0], alt, tmp_path)
    check_description(alt)
    check_text_fits(figure)
    assert any("n = 12 scenes" in text if name == "controlled" else "n = 60" in text for text in words(figure))


@pytest.mark.parametrize(
    ("draw", "describe", "table"),
    [
        (partial_correlations, partial_correlations_alt, "given_codecs"),
        (controlled_complexity, controlled_complexity_alt, "controlled"),
        (familiarity_gaps, familiarity_gaps_alt, "gaps"),
        (detection, detection_alt, "detection"),
        (rate_distortion_by_bits, rate_distortion_by_bits_alt, "bits"),
    ],
)
def test_an_empty_table_gives_a_note(draw, describe, table, tables):
    empty = getattr(tables, table).iloc[:0]
    assert len(words(draw(empty))) == 1
    assert describe(empty).endswith(".")


def test_marks_of_one_row_lie_above_each_other_without_touching_the_next(drawn):
    panel = drawn["given_codecs"][0].axes[0]
    heights = sorted({round(float(y), 6) for bar in panel.containers for y in bar.lines[0].get_ydata()})
    assert len(heights) == 4 * 2  # predictors x (given nothing, given JPEG bytes)
    rows = np.round(heights)
    assert np.diff(heights)[np.diff(rows) > 0].min() > np.diff(heights)[np.diff(rows) == 0].max() * 0.7


def test_compared_panels_share_their_scales(drawn):
    limits = [panel.get_ylim() for panel in drawn["controlled"][0].axes]
    assert len(set(limits[:3])) == len(set(limits[3:])) == 1
    assert len({panel.get_xlim() for panel in drawn["detection"][0].axes}) == 1


def test_gaps_stand_in_the_order_of_familiarity_with_their_numbers_of_images(drawn, tables):
    panels = drawn["gaps"][0].axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "val (n = 60)",
        "near (n = 60)",
        "far (n = 60)",
    ]
    first = panels[0].containers[0].lines[0].get_xdata()
    expected = tables.gaps[(tables.gaps["measure"] == "l1") & (tables.gaps["length"] == 4)]["value"]
    assert list(first) == pytest.approx(list(expected))


def test_a_measure_of_fewer_images_says_so(tables):
    fewer = tables.gaps.copy()
    fewer.loc[fewer["measure"] == "frechet_net", "images"] = 40
    titles = [panel.get_title() for panel in familiarity_gaps(fewer).axes]
    assert [("n = 40" in title) for title in titles] == [False, True, False]


def test_a_number_of_images_is_never_broken_over_lines():
    table = partial_table(synthetic_study_data(synthetic_table(40, ("a_data_set_of_a_rather_long_name",))))
    title = partial_correlations(table).axes[0].get_title()
    assert title.split("\n") == ["a_data_set_of_a_rather_long_name", "(n = 40)"]


def test_every_tokenizer_has_a_line_over_its_own_bits(drawn, tables):
    panel = drawn["bits"][0].axes[0]
    assert [len(line.get_xdata()) for line in panel.lines] == [8, 3]
    assert panel.get_xscale() == "log"
    assert {text for text in words(drawn["bits"][0]) if "n = " in text} == {"alit (n = 60)", "jpeg (n = 60)"}
