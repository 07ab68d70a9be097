"""Executes a notebook, says what it shows, and turns it into HTML: the same bytes each time."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from papermill import PapermillExecutionError, execute_notebook
from PIL import Image
from traitlets.config import Config

from alit import errors
from alit.errors import DataError
from alit.plots.card import CARD, DARK_CARD
from alit.report.study_page import StudyPage

TABLE = re.compile(r'<table border="1" class="dataframe">.*?</table>', re.DOTALL)  # as pandas writes one
LONGEST_SOCKET_FOLDER = 60  # characters: paths of sockets must be short, and the system's temporary folder may not be


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
        with known_settings(), _kernel_config() as config:
            execute_notebook(
                path,
                executed,
                dict(parameters),
                cwd=folder,
                progress_bar=False,
                kernel_name="python3",
                config=config,
            )
    except PapermillExecutionError as error:
        if isinstance(getattr(errors, str(error.ename), None), type):
            raise DataError(f"{path.name}, cell {error.cell_index}: {error.evalue}") from error
        raise
    return scrub(nbformat.read(executed, as_version=4))


@contextmanager
def _kernel_config() -> Iterator[Config]:
    """Let a kernel talk through files of its own instead of open ports: no warning, no listener.

    By default those files are `kernel-ipc-1` to `-5` of the working directory, which two kernels that start at once
    there would share.
    """
    usual = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=usual if len(usual) <= LONGEST_SOCKET_FOLDER else "/tmp") as sockets:
        yield Config(
            {
                "KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"},
                # Shutting down begins with an interrupt, which a kernel now and then logs as an error; those of cells
                # are ours.
                "NotebookClient": {"extra_arguments": ["--IPKernelApp.log_level=50"]},
            }
        )


@contextmanager
def known_settings() -> Iterator[None]:
    """Keep the user's own settings of IPython, Jupyter, nbconvert and matplotlib out of kernels and pages."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as empty:
        rules = Path(empty) / "matplotlibrc"
        rules.touch()
        for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "PYTHONSTARTUP", "MPLBACKEND"):
            os.environ.pop(name, None)
        os.environ |= {
            "IPYTHONDIR": f"{empty}/ipython",
            "JUPYTER_CONFIG_DIR": f"{empty}/config",
            "JUPYTER_DATA_DIR": f"{empty}/data",
            "JUPYTER_RUNTIME_DIR": f"{empty}/runtime",
            "JUPYTER_NO_CONFIG": "1",
            "MATPLOTLIBRC": str(rules),
        }
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before


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
    return TABLE.sub(_scrollable, _render(notebook, exclude_input=True))


def _scrollable(table: re.Match[str]) -> str:
    """Let the keyboard scroll a table that is wider than its page, and leave no heading without words."""
    content = table[0].replace("<th></th>", "<td></td>")
    return f'<div class="scroll" tabindex="0" role="group" aria-label="Table">{content}</div>'


def code_html(notebook: NotebookNode) -> str:
    """Render text and code, without outputs, as an HTML fragment."""
    return _render(notebook, exclude_output=True)


def _render(notebook: NotebookNode, **options: bool) -> str:
    with known_settings():
        exporter = HTMLExporter(
            template_name="basic",
            exclude_anchor_links=True,
            exclude_input_prompt=True,
            exclude_output_prompt=True,
            **options,
        )
        return exporter.from_notebook_node(notebook)[0]


NOTEBOOK_FILE = "notebook.ipynb"


def describe_study(notebook: NotebookNode, name: str, figures: Path) -> StudyPage:
    """Gather a study's title, paper reference, finding and figures from its notebook and its folder of figures.

    The notebook's metadata holds, under `alit`: `section`, `paper` and `claims`.

    Raises:
        DataError: the notebook drew no figure for the study's card, a figure has no description, or it has no title.
    """
    found = {path.stem: read_words(path) for path in sorted(figures.glob("*.png"))}
    if CARD not in found:
        raise DataError(f"expected {name}.ipynb to draw the study's {CARD} into {figures}, found none")
    titles = [line[2:] for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("# ")]
    if notebook.cells[0].cell_type != "markdown" or not titles:
        raise DataError(f"expected {name}.ipynb to begin with a text cell '# title', found none")
    finding, alt = found[CARD]
    about = notebook.metadata.get("alit", {})
    return StudyPage(
        name=name,
        title=titles[0],
        finding=finding or alt,
        section=about.get("section", "Studies"),
        paper=about.get("paper", ""),
        claims=tuple(about.get("claims", ())),
        card=alt if finding else "",  # a card without a finding says why there is none
        figures=tuple(each for each in found if each not in (CARD, DARK_CARD)),
    )


def read_words(png: Path) -> tuple[str, str]:
    """Return the title, which may be empty, and the description that `Plot.save` keeps in a PNG.

    Raises:
        DataError: there is no description: no figure goes without.
    """
    with Image.open(png) as image:
        title, alt = str(image.info.get("Title", "")), str(image.info.get("Description", ""))
    if not alt:
        raise DataError(f"expected a description in {png}, found none; save figures with Plot.save")
    return title, alt
