"""What the site needs to know about a study, as its notebook's stage writes it and the site reads it."""

import json
from pathlib import Path
from typing import NamedTuple

from alit.errors import DataError
from alit.files import read_json

STUDY_FILE = "study.json"


class StudyPage(NamedTuple):
    """What the site needs to know about a study; `study.json` in the study's folder."""

    name: str  # the notebook's and the folder's
    title: str
    finding: str  # one sentence; where there is nothing to draw, why
    section: str  # part of the paper that it belongs to
    paper: str  # figures of the paper that it answers to
    claims: tuple[str, ...]
    card: str  # description of the figure on the study's card; empty where there is nothing to draw
    figures: tuple[str, ...]  # names of the figures on the study's page, to be followed by .png or .svg


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
    content = read_json(path)
    try:
        return StudyPage(**{**content, "claims": tuple(content["claims"]), "figures": tuple(content["figures"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is of another version; run: dvc repro notebook") from error
