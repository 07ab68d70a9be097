"""The frame of every page, and the pages of a study."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from pydantic import PositiveInt

from alit.errors import DataError
from alit.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"


class Provenance(NamedTuple):
    """What made the pages of a site."""

    profile: str
    config: str  # path of the profile's settings in the checkout
    table: str  # first twelve digits of the sweep table's sha256


def provenance(profile: str, table: Path) -> Provenance:
    """Describe what the pages of a profile are made from."""
    with table.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Provenance(profile, f"configs/{profile}.yaml", digest[:12])


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
        path.write_text(html.rstrip() + "\n", encoding="utf-8")
        return path

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
    environment.filters.update(number=format_number, interval=format_interval, slug=slug)
    return environment


def format_number(value: float | None) -> str:
    """Write a number to three digits, with a true minus sign; a dash when it was not measured."""
    if value is None or value != value:
        return "–"
    return f"{value:.3g}".replace("-", "−")


def format_interval(low: float | None, high: float | None) -> str:
    """Write an interval, or nothing when it was not measured."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"[{format_number(low)}, {format_number(high)}]"


def slug(text: str) -> str:
    """Turn words into a part of a class name or file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


STUDY_FILE = "study.json"


class StudyPage(NamedTuple):
    """What the site needs to know about a study; `study.json` in the study's folder."""

    name: str  # the notebook's and the folder's
    title: str
    finding: str  # one sentence: the description of the leading figure
    section: str  # part of the paper that it belongs to
    paper: str  # figures of the paper that it answers to
    claims: tuple[str, ...]
    lead: str  # name of the figure that stands for the study
    figures: dict[str, str]  # name, to be followed by .png or .svg -> description


def describe_study(notebook: "NotebookNode", name: str, figures: Path) -> StudyPage:
    """Gather a study's title, paper reference and figures from its notebook and its folder of figures.

    The notebook's metadata holds, under `alit`: `section`, `paper`, `claims` and `lead`, the leading figure's name.

    Raises:
        DataError: the notebook drew no figure, not the leading one, or has no title.
    """
    found = {path.stem: read_alt(path) for path in sorted(figures.glob("*.png"))}
    about = notebook.metadata.get("alit", {})
    lead = about.get("lead", next(iter(found), ""))
    if lead not in found:
        raise DataError(f"expected {name}.ipynb to draw the figure {lead or '(any)'} into {figures}, found none")
    titles = [line[2:] for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("# ")]
    if notebook.cells[0].cell_type != "markdown" or not titles:
        raise DataError(f"expected {name}.ipynb to begin with a text cell '# title', found none")
    section, paper, claims = about.get("section", "Studies"), about.get("paper", ""), tuple(about.get("claims", ()))
    return StudyPage(name, titles[0], found[lead], section, paper, claims, lead, found)


def read_alt(png: Path) -> str:
    """Return the description that `Plot.save` keeps in a PNG.

    Raises:
        DataError: there is none: no figure goes without.
    """
    with Image.open(png) as image:
        alt = image.info.get("Description")
    if not alt:
        raise DataError(f"expected a description in {png}, found none; save figures with Plot.save")
    return str(alt)


def write_study(study: StudyPage, folder: Path) -> None:
    """Write `study.json`."""
    (folder / STUDY_FILE).write_text(json.dumps(study._asdict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_study(folder: Path) -> StudyPage:
    """Read `study.json`.

    Raises:
        DataError: the study has not been run.
    """
    path = folder / STUDY_FILE
    if not path.is_file():
        raise DataError(f"expected {path}, found none; run: dvc repro notebook")
    content = json.loads(path.read_text(encoding="utf-8"))
    return StudyPage(**{**content, "claims": tuple(content["claims"])})


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
