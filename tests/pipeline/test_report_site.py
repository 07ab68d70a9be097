"""The report as a site: complete, without a host, the same bytes each time, and one line where it cannot be made."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from PIL import Image
from synthetic_report import PAGES, PROFILE, STUDIES, synthetic_notebook

from alit.errors import DataError
from alit.paths import RunPaths
from alit.report.claims_page import read_claims
from alit.report.notebooks import describe_study, read_words, results_html, run_notebook, scrub
from alit.report.pages import write_reconstructions, write_training
from alit.report.site import Provenance, Site
from alit.report.study_page import read_study
from alit.settings import read_yaml
from experiments import leaderboard, notebook
from experiments import site as build_site


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


def test_every_page_is_there(site):
    assert {str(path.relative_to(site)) for path in pages(site)} == set(PAGES)


def test_every_link_and_picture_leads_to_a_file_of_the_site(site):
    checked = 0
    for page in pages(site):
        for _, attributes in Elements(page.read_text(encoding="utf-8")).found:
            for address in (attributes.get("href"), attributes.get("src"), attributes.get("srcset")):
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
        text = re.sub(r"(<script.*?>).*?</script>", r"\1", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?(?:https?:)?//""", text), path
        assert "<script" not in text or path.name in ("explorer.html", "leaderboard.html"), path


def test_every_picture_has_a_description(site):
    images = [a for page in pages(site) for tag, a in Elements(page.read_text(encoding="utf-8")).found if tag == "img"]
    assert len(images) > 20
    assert all(len(attributes["alt"]) > 5 for attributes in images)


def test_every_figure_is_there_as_png_and_svg(site):
    figures = [path for path in site.rglob("*.png") if not {"reconstructions", "gallery"} & {*path.parts}]
    assert len(figures) == 4 + 1 + 1 + 3 * len(
        STUDIES
    )  # trainings, claims, leaderboard; of a study one, its card twice
    for path in figures:
        assert path.with_suffix(".svg").stat().st_size > 1000
        assert read_words(path)[1]


def test_every_page_names_command_config_and_table(site, project):
    for page in pages(site):
        footer = page.read_text(encoding="utf-8").split("<footer>")[1]
        assert f"configs/{PROFILE}.yaml" in footer
        assert f"PROFILE={PROFILE}" in footer or f"-p sweep runs/{PROFILE}/sweep" in footer
        assert re.search(r"<code>[0-9a-f]{12}</code>", footer)


def test_a_second_run_writes_the_same_bytes(project, monkeypatch):
    before = {path: path.read_bytes() for path in project.report.rglob("*") if path.is_file()}
    monkeypatch.chdir(project.root)
    notebook.main([PROFILE, STUDIES[0]])
    build_site.main([PROFILE])
    leaderboard.main([PROFILE])
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


@pytest.mark.slow
def test_a_fault_in_a_notebook_is_one_line_that_names_the_cell(tmp_path):
    study = synthetic_notebook("a", "A")
    fault = "from alit.errors import DataError\nraise DataError('no table')"
    study.cells = [*study.cells[:2], nbformat.v4.new_code_cell(fault)]
    nbformat.write(study, tmp_path / "a.ipynb")
    with pytest.raises(DataError, match=r"a\.ipynb, cell \d+: no table"):
        run_notebook(tmp_path / "a.ipynb", tmp_path / "out.ipynb", tmp_path, {"profile": "x"})


@pytest.mark.slow
def test_kernels_that_run_at_once_in_one_folder_share_no_socket(tmp_path):
    study = synthetic_notebook("a", "A")
    show = "import json, ipykernel.connect\njson.loads(ipykernel.connect.get_connection_info())['ip']"
    study.cells = [*study.cells[:2], nbformat.v4.new_code_cell(show), nbformat.v4.new_code_cell("%ls")]
    nbformat.write(study, tmp_path / "a.ipynb")
    runs = [run_notebook(tmp_path / "a.ipynb", tmp_path / "out.ipynb", tmp_path, {"profile": "x"}) for _ in range(2)]
    first, second = (run.cells[-2].outputs[0].data["text/plain"] for run in runs)
    assert first != second
    assert "kernel" in first
    assert "kernel" not in str(runs[0].cells[-1].outputs)  # none lies in the working directory


def test_a_study_without_a_figure_for_its_card_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected a\.ipynb to draw the study's card"):
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
        (
            lambda folder: write_reconstructions(Site(folder, Provenance("a", "", "", "")), RunPaths(folder, "a")),
            "dvc repro examples",
        ),
    ],
)
def test_a_missing_input_is_one_line_that_says_what_to_run(tmp_path, call, remedy):
    with pytest.raises(DataError, match=remedy):
        call(tmp_path)


def test_a_stage_that_took_no_step_has_no_curves(tmp_path):
    paths = RunPaths(tmp_path, "a")
    paths.config.parent.mkdir()
    paths.config.write_text("init_from: zoo/a\n")
    for folder, rows in ((paths.distilled, "1,2.0\n2,1.0\n"), (paths.tokenizer, "")):
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text(f"step,loss\n{rows}")
    write_training(Site(paths.report, Provenance("a", "", "", "")), paths)
    text = (paths.report / "training.html").read_text(encoding="utf-8")
    assert "Stage 1" in text
    assert "Stage 2" not in text


@pytest.mark.parametrize(
    ("source", "pictures"), [("scenes", "publishable"), ("folder", "publishable"), ("folder", "all")]
)
def test_pictures_of_a_set_with_terms_are_left_out_of_a_public_report(project, tmp_path, source, pictures):
    paths = RunPaths(tmp_path, PROFILE)
    shutil.copytree(project.examples, paths.examples)
    content = read_yaml(project.config)
    content["data"]["sets"] = [part | {"source": source} for part in content["data"]["sets"]]
    paths.config.parent.mkdir()
    paths.config.write_text(yaml.safe_dump(content))
    (tmp_path / "params.yaml").write_text(f"pictures: {pictures}\n")
    write_reconstructions(Site(tmp_path, Provenance("a", "", "", "")), paths)
    text = (tmp_path / "reconstructions.html").read_text()
    withheld = (source, pictures) == ("folder", "publishable")
    assert ("<img" in text) == (not withheld)
    assert ("forbid publishing its images" in text) == withheld
    assert (tmp_path / "images" / "reconstructions").exists() == (not withheld)


def test_an_unknown_study_names_the_known_ones(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)
    with pytest.raises(SystemExit):
        notebook.main([PROFILE, "third"])
    assert re.search("choose from '?first'?, '?second", capsys.readouterr().err)
