"""The report: complete, without a host, the same bytes each time, and honest about what it does not know."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_report import LENGTHS, PROFILE, STUDIES, synthetic_claims, synthetic_notebook

from alit.errors import DataError
from alit.report.notebooks import results_html, run_notebook, scrub
from alit.report.pages import lab_notes, mean_errors, read_claims
from alit.report.pictures import write_examples
from alit.report.site import format_interval, format_number
from alit.report.studies import describe_study, read_alt, read_study
from experiments import notebook, report

PAGES = ("index.html", "claims.html", "training.html", "reconstructions.html")


class Elements(HTMLParser):
    """Collects every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def read(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def words(html: str) -> str:
    """Return the text of a page, whitespace collapsed, character references as they stand."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("<main>")[-1]).split())


def test_every_page_is_there(site):
    expected = {*PAGES, *(f"{study}/{page}.html" for study in STUDIES for page in ("index", "code"))}
    assert {str(path.relative_to(site)) for path in pages(site)} == expected


def test_every_link_and_picture_leads_to_a_file_of_the_site(site):
    checked = 0
    for page in pages(site):
        for _, attributes in Elements(page.read_text(encoding="utf-8")).found:
            for address in (attributes.get("href"), attributes.get("src")):
                if not address or address.startswith("data:"):
                    continue
                parts = urlsplit(address)
                assert not parts.scheme, address
                assert not parts.netloc, address
                target = (page.parent / unquote(parts.path)).resolve()
                assert target.is_file(), f"{page.name}: {address}"
                assert target.is_relative_to(site.resolve())
                checked += 1
    assert checked > 50


def test_no_page_names_a_path_of_this_machine(site, project):
    for path in site.rglob("*"):
        if path.suffix in (".html", ".json", ".ipynb", ".svg", ".css"):
            assert str(project.root) not in path.read_text(encoding="utf-8"), path


def test_nothing_is_loaded_from_a_host(site):
    for path in [*pages(site), site / "style.css"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?(?:https?:)?//""", text), path
        assert "<script" not in text, path


def test_every_picture_has_a_description(site):
    images = [a for page in pages(site) for tag, a in Elements(page.read_text(encoding="utf-8")).found if tag == "img"]
    assert len(images) > 20
    assert all(len(attributes["alt"]) > 5 for attributes in images)


def test_every_figure_is_there_as_png_and_svg(site):
    figures = [path for path in site.rglob("*.png") if "reconstructions" not in path.parts]
    assert len(figures) == 4 + len(STUDIES)
    for path in figures:
        assert path.with_suffix(".svg").stat().st_size > 1000
        assert read_alt(path)


def test_every_page_names_command_config_and_table(site, project):
    for page in pages(site):
        footer = page.read_text(encoding="utf-8").split("<footer>")[1]
        assert f"configs/{PROFILE}.yaml" in footer
        assert f"PROFILE={PROFILE}" in footer or f"-p profile {PROFILE}" in footer
        assert re.search(r"<code>[0-9a-f]{12}</code>", footer)


def test_front_page_counts_verdicts_and_shows_a_card_per_study(site):
    html = read(site, "index.html")
    for chip in ("1 holds", "1 does not hold", "1 not measurable here"):
        assert f">{chip}</span>" in html
    for number, study in enumerate(STUDIES, start=1):
        assert f'href="{study}/index.html"' in html
        assert f"Study number {number}" in html
        assert f"{study}_curve: from step 0 to 39, loss 1 to 0.025." in html
    assert html.count("Paper: Fig. 4, 11") == len(STUDIES)


def test_front_page_states_mean_l1_per_length(site, project):
    table = pd.read_parquet(project.table)
    here = table[(table["dataset"] == "val") & (table["length"] == LENGTHS[0])]
    assert f"{here['l1'].mean():.4f}" in words(read(site, "index.html"))


def test_mean_errors_leave_originals_out_and_keep_the_order_of_sets():
    table = pd.DataFrame({"dataset": ["z", "z", "z", "a"], "length": [0, 4, 4, 4], "l1": [0.0, 0.2, 0.4, 0.1]})
    means = mean_errors(table, ["unmeasured", "z", "a"])
    assert list(means.index) == ["z", "a"]
    assert list(means.columns) == [4]
    assert means.loc["z", 4] == pytest.approx(0.3)


def test_lab_notes_are_the_head_comment_of_the_profile():
    notes = lab_notes(
        "# cpu: the default. Trains all of it\n# on two cores.\n# Expect: ten minutes.\n\n# no note\nseed: 0\n"
    )
    assert notes == ("The default. Trains all of it on two cores.", "Expect: ten minutes.")


def test_claims_page_shows_each_claim_with_verdict_interval_and_study(site):
    html = read(site, "claims.html")
    for claim in synthetic_claims():
        assert f'id="{claim.id}"' in html
        assert claim.sentence in html
    assert '<span class="chip does-not-hold">does not hold</span>' in html
    assert "[0.0201, 0.0226]" in words(html)
    assert 'href="first/index.html"' in html


def test_what_could_not_be_measured_shows_no_number(site):
    article = read(site, "claims.html").split('id="C3"')[1].split("</article>")[0]
    assert "nan" not in article.lower()
    assert 'class="value"' not in article


def test_text_of_the_ledger_is_escaped(site):
    html = read(site, "claims.html")
    assert "&lt;by people&gt; &amp; co." in html
    assert "<by people>" not in html


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
    assert "training_curves" not in results
    assert "training_curves" in code
    assert "data:image/png;base64," not in code


def test_study_page_links_the_notebook_as_committed(site, project):
    assert 'href="notebook.ipynb"' in read(site, "first/index.html")
    source = project.root / "notebooks" / "first.ipynb"
    assert (site / "first" / "notebook.ipynb").read_bytes() == source.read_bytes()


def test_a_second_run_writes_the_same_bytes(project, monkeypatch):
    before = {path: path.read_bytes() for path in project.report.rglob("*") if path.is_file()}
    monkeypatch.chdir(project.root)
    notebook.main([PROFILE, STUDIES[0]])
    report.main([PROFILE])
    after = {path: path.read_bytes() for path in project.report.rglob("*") if path.is_file()}
    assert before.keys() == after.keys()
    assert [path.name for path in before if before[path] != after[path]] == []


def test_scrub_removes_what_differs_between_runs():
    one, two = synthetic_notebook("a", "A"), synthetic_notebook("a", "A")
    assert [cell.id for cell in one.cells] != [cell.id for cell in two.cells]
    two.metadata["papermill"] = {"duration": 3.2}
    two.cells[1].metadata["papermill"] = {"start_time": "now"}
    two.cells[1].metadata["execution"] = {"iopub.status.busy": "now"}
    assert scrub(one) == scrub(two)
    assert results_html(one) == results_html(two)


def test_a_fault_in_a_notebook_is_one_line_that_names_the_cell(tmp_path):
    study = synthetic_notebook("a", "A")
    fault = "from alit.errors import DataError\nraise DataError('no table')"
    study.cells = [*study.cells[:2], nbformat.v4.new_code_cell(fault)]
    nbformat.write(study, tmp_path / "a.ipynb")
    with pytest.raises(DataError, match=r"a\.ipynb, cell \d+: no table"):
        run_notebook(tmp_path / "a.ipynb", tmp_path / "out.ipynb", tmp_path, {"profile": "x"})


def test_a_study_without_its_leading_figure_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected a\.ipynb to draw the figure a_curve"):
        describe_study(synthetic_notebook("a", "A"), "a", tmp_path)


def test_a_figure_without_a_description_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a_curve.png")
    with pytest.raises(DataError, match="expected a description"):
        describe_study(synthetic_notebook("a", "A"), "a", tmp_path)


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda folder: read_study(folder), "dvc repro notebook"),
        (lambda folder: read_claims(folder / "claims.json"), "dvc repro claims"),
        (lambda folder: write_examples(folder, folder, "x"), "dvc repro examples"),
    ],
)
def test_a_missing_input_is_one_line_that_says_what_to_run(tmp_path, call, remedy):
    with pytest.raises(DataError, match=remedy):
        call(tmp_path)


def test_an_unknown_study_names_the_known_ones(project, monkeypatch):
    monkeypatch.chdir(project.root)
    with pytest.raises(DataError, match="studies here: first, second"):
        notebook.main([PROFILE, "third"])


def test_numbers_are_written_to_three_digits_with_a_true_minus():
    assert format_number(-0.012345) == "−0.0123"
    assert format_number(float("nan")) == "–"
    assert format_interval(float("nan"), 1.0) == ""
    assert format_interval(-1.0, 2.5) == "[−1, 2.5]"
