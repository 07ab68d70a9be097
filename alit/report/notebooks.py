"""Executes a notebook and turns it into HTML, the same bytes each time."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from papermill import PapermillExecutionError, execute_notebook
from traitlets.config import Config

from alit import errors
from alit.errors import DataError

KERNEL_CONFIG = Config({"KernelManager": {"transport": "ipc"}})  # files instead of open ports: no warning, no listener


def run_notebook(path: Path, executed: Path, folder: Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Execute a notebook in a kernel of its own and return it without anything that differs between runs.

    Args:
        path: the notebook, with a cell tagged `parameters`.
        executed: where the executed notebook is written, for looking into after a failure.
        folder: the kernel's working directory.
        parameters: replace the ones of that cell; they are shown with the code, so no path of this machine.

    Raises:
        DataError: a cell stopped with one of the suite's own faults; the line names notebook and cell.
        PapermillExecutionError: a cell stopped with anything else.
    """
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # else the kernel warns on stderr
    try:
        execute_notebook(
            path,
            executed,
            dict(parameters),
            cwd=folder,
            progress_bar=False,
            kernel_name="python3",
            config=KERNEL_CONFIG,
        )
    except PapermillExecutionError as error:
        if isinstance(getattr(errors, str(error.ename), None), type):
            raise DataError(f"{path.name}, cell {error.cell_index}: {error.evalue}") from error
        raise
    return scrub(nbformat.read(executed, as_version=4))


def scrub(notebook: NotebookNode) -> NotebookNode:
    """Remove times, durations, paths and random cell ids from an executed notebook, in place, and return it."""
    for name in ("papermill", "widgets"):
        notebook.metadata.pop(name, None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"c{number}"
        for name in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(name, None)
    return notebook


def results_html(notebook: NotebookNode) -> str:
    """Render text and outputs, without code, as an HTML fragment with pictures inside and no address of any host."""
    return _render(notebook, exclude_input=True)


def code_html(notebook: NotebookNode) -> str:
    """Render text and code, without outputs, as an HTML fragment."""
    return _render(notebook, exclude_output=True)


def _render(notebook: NotebookNode, **options: bool) -> str:
    exporter = HTMLExporter(
        template_name="basic",
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        **options,
    )
    return exporter.from_notebook_node(notebook)[0]
