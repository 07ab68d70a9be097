"""The documentation's site: it builds strictly, without network, from every page, and describes every public name."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browser import BROWSER, DRIVER, axe_core, laid_out, open_browser, scrolls_sideways, serious_faults
from checkout import ROOT
from sphinx.util.inventory import InventoryFile

import alit
from alit.cli import build_parser
from alit.completion import commands_of

PAGES = sorted(page.relative_to(ROOT).with_suffix("") for page in (ROOT / "docs").rglob("*.md"))


def build(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the pages below `source` as `make docs` does."""
    command = [sys.executable, "-m", "sphinx", "-c", str(ROOT / "docs"), "-b", "html", "-q", "-W", "--keep-going"]
    folders = ["-d", str(out.with_name(out.name + "_doctrees")), str(source), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *options, *folders], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report of the default profile, as far as the site takes it: two pages and one executed notebook."""
    folder = tmp_path_factory.mktemp("report")
    for page in ("index.html", "cost/code.html"):
        (folder / page).parent.mkdir(exist_ok=True)
        (folder / page).write_text("<title>A page of the report</title>")
    executed = folder / "executed" / "cost" / "notebook.ipynb"
    executed.parent.mkdir(parents=True)
    cells = [nbformat.v4.new_markdown_cell("# What does it cost?"), nbformat.v4.new_code_cell("secret = 1")]
    cells[1].outputs = [nbformat.v4.new_output("stream", text="as much as that")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), executed)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, report) -> Path:
    out = tmp_path_factory.mktemp("site") / "html"
    done = build(ROOT, out, "-D", f"default_run={report}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out


@pytest.mark.slow
def test_every_page_of_docs_is_there_and_the_front_page_leads_to_it(site):
    front = (site / "docs" / "index.html").read_text()
    for page in PAGES:
        assert (site / page.with_suffix(".html")).is_file()
        if page != Path("docs/index"):
            assert f'href="{page.relative_to("docs")}.html"' in front
    assert "docs/index.html" in (site / "index.html").read_text()


@pytest.mark.slow
def test_the_reference_describes_the_modules_that_git_has_and_what_import_alit_offers(site):
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    described = {name for kind, items in inventory.data.items() if kind.startswith("py:") for name in items}
    assert {f"alit.{name}" for name in alit.__all__} <= described
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "alit").rglob("*.py")]
    modules = {".".join(file.parts).removesuffix(".__init__") for file in files} - {"alit", "alit.__main__"}
    assert modules <= described
    assert {"alit.tokenizer.code_model.CodeModel", "alit.tokenizer.length_predictor.fit_length_predictor"} <= described


@pytest.mark.slow
def test_a_public_name_that_no_page_describes_stops_the_build(tmp_path):
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n```{toctree}\nreference/some\n```\n")
    part = ".. automodule:: alit.errors\n   :exclude-members: DataError\n"
    (tmp_path / "docs" / "reference" / "some.md").write_text(f"# Some\n\n```{{eval-rst}}\n{part}```\n")
    done = build(tmp_path, tmp_path / "html")
    assert done.returncode != 0
    assert "no page describes the module alit.tokenizer.tokens" in done.stderr
    assert "no page describes alit.errors.DataError" in done.stderr
    assert "alit.errors.ConfigError" not in done.stderr
    assert "the module alit.errors" not in done.stderr


def test_the_page_of_the_command_line_names_every_command():
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `alit (\w+)` \|", page, re.MULTILINE)) == {
        command.name for command in commands_of(build_parser())
    }


@pytest.mark.slow
def test_no_page_takes_anything_from_another_host(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(https?:)?//", page.read_text())
        assert loaded == [], page


@pytest.mark.slow
def test_the_default_run_is_part_of_the_site(site, report):
    page = (site / "docs" / "studies" / "cost.html").read_text()
    assert "<h3>What does it cost?" in page
    assert "as much as that" in page
    assert "secret" not in page
    assert 'href="../../report/cost/code.html"' in page
    assert 'href="../report/index.html"' in (site / "docs" / "index.html").read_text()
    assert (site / "report" / "cost" / "code.html").is_file()
    assert not (site / "report" / "executed").exists()
    assert "What the default profile shows" not in (site / "docs" / "studies" / "probe.html").read_text()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="no chromium and chromedriver on the PATH")
def test_pages_of_each_kind_fit_a_phone_and_have_no_serious_fault(site, tmp_path):
    axe, driver = axe_core(tmp_path), open_browser(tmp_path / "browser")
    kinds = ("docs/index", "docs/library", "docs/reference/sweep", "docs/studies/cost", "zoo/README", "RESULTS")
    try:
        for page, (width, scheme) in itertools.product(kinds, [(1280, "light"), (360, "dark")]):
            with laid_out(driver, width, scheme):
                driver.get((site / f"{page}.html").as_uri())
                assert not scrolls_sideways(driver), page
                assert serious_faults(driver, axe) == [], page
                assert driver.execute_script("return [...document.images].every(it => it.naturalWidth)"), page
                assert driver.find_element("css selector", "header a[href$='index.html'], header a[href='#']")
    finally:
        driver.quit()


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[a page](nowhere.md)", "[a heading](index.md#nowhere)"])
def test_a_link_that_leads_nowhere_stops_the_build(link, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# A page\n\n{link}\n")
    done = build(tmp_path, tmp_path / "html")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
