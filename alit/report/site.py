"""The frame of every page, and the pages of a study."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import PositiveInt

from alit.analysis.numbers import format_interval, format_number
from alit.analysis.verdicts import SYMBOLS
from alit.files import file_sha256, read_json, write_whole
from alit.report.study_page import StudyPage
from alit.settings import Settings
from alit.tokenizer.origin import origin_of_sweep

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"
IMAGES = "images"  # folder of the pictures that belong to no study


class Provenance(NamedTuple):
    """What made the pages of a site."""

    profile: str
    config: str  # path of the profile's settings in the checkout
    table: str  # first twelve digits of the sweep table's sha256
    checkpoint: str  # whose weights were swept, in words


def provenance(profile: str, table: Path) -> Provenance:
    """Describe what the pages of a profile are made from, by the sweep table and the record beside it."""
    record = table.with_name("config.json")
    origin = origin_of_sweep(read_json(record)) if record.is_file() else None
    checkpoint = "not recorded by this sweep" if origin is None else origin.describe()
    return Provenance(profile, f"configs/{profile}.yaml", file_sha256(table)[:12], checkpoint)


class Site(NamedTuple):
    """The pages of one profile, below one folder."""

    folder: Path
    made_from: Provenance

    def write(self, page: str, template: str, *, title: str, command: str, **content: Any) -> Path:
        """Render one page; `page` is its path below the folder, `command` the one that makes it again."""
        path = self.folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * page.count("/")
        frame = {"site": self, "page": page, "up": up, "title": title, "command": command}
        html = _environment().get_template(template).render(**frame, **content)
        write_whole(path, (html.rstrip() + "\n").encode(errors="backslashreplace"))
        return path

    @property
    def command(self) -> str:
        """What makes the whole site again."""
        return f"make repro PROFILE={self.made_from.profile}"

    def write_style(self) -> None:
        """Copy the style sheet that every page links."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TEMPLATES / STYLE, self.folder / STYLE)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("alit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=format_number, interval=format_interval, slug=slug, symbol=symbol)
    return environment


def symbol(verdict: str | None) -> str:
    """Return the symbol of a verdict or an outcome; nothing where it has none."""
    return SYMBOLS.get(verdict or "", "")


def slug(text: str) -> str:
    """Turn words into a part of a class name or file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def write_study_pages(site: Site, study: StudyPage, results: str, code: str) -> None:
    """Write a study's page and the page with its code; `results` and `code` are HTML fragments of our own notebook."""
    command = f"papermill notebooks/{study.name}.ipynb out.ipynb -p sweep runs/{site.made_from.profile}/sweep"
    content = {"study": study, "title": study.title, "command": command}
    site.write(f"{study.name}/index.html", "study.html", body=results, is_code=False, **content)
    site.write(f"{study.name}/code.html", "study.html", body=code, is_code=True, **content)


class ReportConfig(Settings):
    """What the static site shows."""

    example_images: PositiveInt
    example_set: str
    explorer_images: PositiveInt  # of the first set that is evaluated
