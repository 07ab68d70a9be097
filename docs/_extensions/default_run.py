"""Puts the default profile's run into the site, where there is one: its report, and what its notebooks show.

A page of docs/studies stands by itself; where `make repro` has executed the study's notebook, what the notebook shows
follows below the text. Nothing is computed here.
"""

import re
import shutil
from pathlib import Path

import nbformat
from sphinx.application import Sphinx

from alit.report.notebooks import NOTEBOOK_FILE, results_html

STUDIES = "docs/studies/"
REPORT = "report"  # the report's folder in the site
EXECUTED = "executed"  # what the report is made from, no part of it


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the setting `default_run`, the folder of a report below the checkout, and what is made of it."""
    app.add_config_value("default_run", "reports/cpu", "env", types=[str])
    app.connect("source-read", add_run)
    app.connect("build-finished", copy_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def report_of(app: Sphinx) -> Path | None:
    """Return the folder of the default profile's report; None where there is none."""
    folder = Path(app.srcdir) / app.config.default_run
    return folder if (folder / "index.html").is_file() else None


def add_run(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to the text of a page what the default profile's run has for it."""
    report = report_of(app)
    if report is None:
        return
    if page == app.config.root_doc:
        pages = {"index.html": "The report", "explorer.html": "The explorer"}
        there = [link(file, words, depth=1) for file, words in pages.items() if (report / file).is_file()]
        source[0] += part("The default profile's run", " ".join(there))
    study = page.removeprefix(STUDIES)
    executed = report / EXECUTED / study / NOTEBOOK_FILE
    if page != study and executed.is_file():
        app.env.note_dependency(executed, docname=page)
        files = {"code.html": "The code", NOTEBOOK_FILE: "The notebook"}
        links = " ".join(link(f"{study}/{file}", words, depth=2) for file, words in files.items())
        source[0] += part("What the default profile shows", f"{links}\n{shown(executed)}")


def part(title: str, html: str) -> str:
    """Return a heading and HTML as MyST Markdown."""
    return f'\n\n## {title}\n\n```````{{raw}} html\n<div class="default-run">\n{html}\n</div>\n```````\n'


def link(target: str, words: str, *, depth: int) -> str:
    """Return a link into the report from a page that lies `depth` folders deep."""
    return f'<a class="run-link" href="{"../" * depth}{REPORT}/{target}">{words}</a>'


def shown(executed: Path) -> str:
    """Return an executed notebook without code as HTML, its headings below those of the page."""
    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"^(#+ )", r"##\1", cell.source, flags=re.MULTILINE)
    return results_html(notebook)


def copy_report(app: Sphinx, exception: Exception | None) -> None:
    """Copy the default profile's report into the site."""
    report, target = report_of(app), Path(app.outdir) / REPORT
    if exception is None and app.builder.format == "html":
        shutil.rmtree(target, ignore_errors=True)
        if report is not None:
            shutil.copytree(report, target, ignore=shutil.ignore_patterns(EXECUTED))
