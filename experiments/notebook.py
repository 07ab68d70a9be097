"""Stage `notebook`: execute one study's notebook and render it as a page of the report."""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from alit.errors import DataError, run_command
from alit.paths import RunPaths, project_root
from alit.report.notebooks import code_html, results_html, run_notebook
from alit.report.site import Site, describe_study, provenance, write_study, write_study_pages


def main(argv: Sequence[str] | None = None) -> None:
    """Write `reports/<profile>/<study>/`: pages, figures, and the notebook itself."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("study", help="name of a file in notebooks/, without .ipynb")
    arguments = parser.parse_args(argv)
    paths = RunPaths(project_root(), arguments.profile)
    source = paths.root / "notebooks" / f"{arguments.study}.ipynb"
    if not source.is_file():
        known = ", ".join(sorted(path.stem for path in source.parent.glob("*.ipynb")))
        raise DataError(f"expected a notebook {source}, found none; studies here: {known}")
    folder = paths.report / arguments.study
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / "executed.ipynb"
        notebook = run_notebook(source, executed, paths.root, {"profile": paths.profile})
    study = describe_study(notebook, arguments.study, folder / "figures")
    site = Site(paths.report, provenance(paths.profile, paths.table))
    write_study_pages(site, study, results_html(notebook), code_html(notebook))
    write_study(study, folder)
    shutil.copyfile(source, folder / "notebook.ipynb")


if __name__ == "__main__":
    run_command(main)
