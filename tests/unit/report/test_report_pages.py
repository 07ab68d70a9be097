"""What the report's pages say: every number that was measured, and honestly which were not."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from PIL import Image
from synthetic_report import LENGTHS, STUDIES

from alit.analysis.numbers import format_estimate, format_interval, format_number
from alit.settings import read_yaml
from experiments.texts import mean_errors


def read(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def words(html: str) -> str:
    """Return the text of a page, whitespace collapsed, character references as they stand."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("<main>")[-1]).split())


def test_front_page_counts_verdicts_and_shows_a_card_per_study(site):
    html = read(site, "index.html")
    for chip in ("● 1 supported", "◪ 1 mixed", "– 1 not measurable", "○ 1 inconclusive"):
        assert f">{chip}</span>" in html
    assert 'title="as stated: supported; under control: inconclusive">C1 ● ○</span>' in html
    for number, study in enumerate(STUDIES, start=1):
        assert f'href="{study}/index.html"' in html
        assert f"Study number {number}" in html
    assert html.count("Paper: Fig. 4, 11") == len(STUDIES)


def test_a_card_shows_its_own_figure_or_says_why_there_is_none(site):
    drawn, missing = read(site, "index.html").split('<a class="card"')[1:]
    assert "The loss goes from 1 to 0.025." in words(drawn)
    assert 'media="(prefers-color-scheme: dark)" srcset="first/figures/card_dark.png"' in drawn
    alt = "Lines with 95 % intervals, loss against step: loss 1 [0, 1] at 0 to 0.025 [0, 1] at 39."
    assert f'src="first/figures/card.png" width="360" height="220" alt="{alt}"' in drawn
    assert "Not measurable here: no tea." in words(missing)
    assert "<img" not in missing


def test_mean_errors_leave_originals_out_and_keep_the_order_of_sets():
    table = pd.DataFrame({"dataset": ["z", "z", "z", "a"], "length": [0, 4, 4, 4], "l1": [0.0, 0.2, 0.4, 0.1]})
    means = mean_errors(table, ["unmeasured", "z", "a"])
    assert list(means.index) == ["z", "a"]
    assert list(means.columns) == [4]
    assert means.loc["z", 4] == pytest.approx(0.3)


def test_front_page_says_what_the_profile_is_for(site, project):
    for note in read_yaml(project.config)["about"]:
        assert escape(note) in words(read(site, "index.html"))


def test_training_page_shows_every_run_with_its_settings(site):
    html = read(site, "training.html")
    for run in ("base", "distilled", "tokenizer", "small_cnn"):
        assert f'src="images/training_{run}.png"' in html
    assert html.count("&#34;batch_size&#34;: 16") == 4
    assert "Task model small_cnn" in html


def test_reconstructions_show_every_length_with_its_error(site, project):
    html = words(read(site, "reconstructions.html"))
    errors = pd.read_csv(project.examples / "examples.csv")
    for row in errors.itertuples():
        assert f"{row.length} {row.l1:.3f}" in html
    pictures = list((site / "images" / "reconstructions").glob("*.png"))
    assert len(pictures) == 2 * (1 + len(LENGTHS))


def test_pictures_hold_the_examples_pixels(site, project):
    with np.load(project.examples / "examples.npz") as arrays:
        expected = arrays["reconstructions"][1, -1]
    with Image.open(site / "images" / "reconstructions" / "01_032.png") as image:
        assert np.array_equal(np.asarray(image), expected)


def test_study_page_shows_results_without_code_and_code_without_results(site):
    results, code = read(site, "first/index.html"), read(site, "first/code.html")
    assert "data:image/png;base64," in results
    assert "0.025000" in results
    assert '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table' in results
    assert "<th></th>" not in results
    assert "training_curves" not in results
    assert "training_curves" in code
    assert "data:image/png;base64," not in code


def test_study_page_links_the_notebook_as_committed(site, project):
    assert 'href="notebook.ipynb"' in read(site, "first/index.html")
    source = project.root / "notebooks" / "first.ipynb"
    assert (site / "first" / "notebook.ipynb").read_bytes() == source.read_bytes()


def test_numbers_are_written_to_three_digits_with_a_true_minus():
    assert format_number(-0.012345) == "−0.0123"
    assert format_number(float("nan")) == "–"
    assert format_interval(float("nan"), 1.0) == ""
    assert format_interval(-1.0, 2.5) == "[−1, 2.5]"
    assert format_estimate(-0.5, -1.0, 2.5) == "−0.5 [−1, 2.5]"
    assert format_estimate(0.5, float("nan"), 1.0) == "0.5"
