"""Links and paths that the pages name lead somewhere."""

import re
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

FOLDERS = ("docs", "data", "zoo", "results", "configs", "notebooks", ".github")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
CODE = re.compile(r"```.*?```", re.DOTALL)
TRACKED = ("alit", "benchmarks", "configs", "data/README", "docs", "experiments", "notebooks", "tests", "zoo")


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name):
    page = ROOT / name
    lost = []
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("name", NAMES)
def test_paths_in_backticks_exist(name):
    text = CODE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    named = re.findall(rf"`((?:{'|'.join(TRACKED)})[\w/.-]*\.(?:py|md|yaml|ipynb|json))`", text)
    assert [path for path in named if not (ROOT / path).is_file()] == []
