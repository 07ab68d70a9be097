"""Stage `notebook`: execute one study's notebook."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
import papermill

from alit.errors import run_command
from alit.paths import project_root
from alit.report.notebooks import NOTEBOOK_FILE, describe_study, run_notebook
from alit.report.study_page import write_study
from alit.report.terms import shows_private_pictures
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write the study's figures, and the executed notebook with what the site needs to know about it."""
    known = sorted(path.stem for path in (project_root() / "notebooks").glob("*.ipynb"))
    stage = Stage(argv, main.__doc__, studies=known)
    paths, study = stage.paths, stage.study
    source = paths.root / "notebooks" / f"{study}.ipynb"
    figures = paths.report / study / "figures"
    folder = paths.executed(study)
    for each in (figures, folder):  # files of an earlier run must not linger
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    offered = {
        "sweep": str(paths.sweep.relative_to(paths.root)),
        "figures": str(figures.relative_to(paths.root)),
        "public": not shows_private_pictures(paths.root),
    }
    declared = papermill.inspect_notebook(source)
    parameters = {name: value for name, value in offered.items() if name in declared}
    with tempfile.TemporaryDirectory() as scratch:
        notebook = run_notebook(source, Path(scratch) / NOTEBOOK_FILE, paths.root, parameters)
    nbformat.write(notebook, folder / NOTEBOOK_FILE)
    write_study(describe_study(notebook, study, figures), folder)


if __name__ == "__main__":
    run_command(main)
