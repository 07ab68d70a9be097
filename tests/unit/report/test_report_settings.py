"""The user's own settings of matplotlib, IPython, Jupyter and nbconvert change neither figures nor notebooks."""

import os
from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest

from alit.plots.style import Plot, panels, style
from alit.report.notebooks import code_html, known_settings, results_html, run_notebook

ODD = {
    "text.usetex": True,
    "font.size": 30,
    "axes.facecolor": "red",
    "axes.grid": True,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "savefig.facecolor": "blue",
    "figure.dpi": 37,
    "lines.linestyle": "--",
    "path.sketch": (1, 100, 2),
    "svg.fonttype": "path",
    "axes.unicode_minus": False,
    "axes.prop_cycle": "cycler('color', ['g'])",
    "date.converter": "concise",
    "image.cmap": "hot",
}


def drawn(folder: Path) -> tuple[bytes, bytes]:
    with style():
        figure, (axes,) = panels(1)
        axes.plot([-1, 0, 1], [0, 1, 4], label="a line")
        axes.imshow([[0, 1], [1, 0]], extent=(-1, 1, 0, 4))
        axes.set_xlabel("x")
        axes.legend()
    Plot(figure, "A line.").save(folder, "line")
    return (folder / "line.png").read_bytes(), (folder / "line.svg").read_bytes()


@pytest.mark.parametrize("name", [*ODD, "all"])
def test_figures_start_from_known_defaults(name, tmp_path):
    before = drawn(tmp_path)
    with mpl.rc_context(ODD if name == "all" else {name: ODD[name]}):
        assert drawn(tmp_path / "odd") == before


def test_no_rule_of_matplotlib_is_left_to_the_user():
    with mpl.rc_context(ODD), style():
        inside = dict(mpl.rcParams)
    with style():
        assert inside == dict(mpl.rcParams)


def test_pages_use_no_template_of_the_users(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# hello")])
    before = results_html(notebook), code_html(notebook)
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_PATH"):
        template = tmp_path / variable / "nbconvert" / "templates" / "basic"
        template.mkdir(parents=True)
        (template / "conf.json").write_text('{"base_template": "base"}')
        (template / "index.html.j2").write_text("hijacked")
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert (results_html(notebook), code_html(notebook)) == before


def test_the_environment_is_as_it_was_afterwards(monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "mine")
    before = dict(os.environ)
    with known_settings():
        assert "PYTHONSTARTUP" not in os.environ
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_profile_of_ipython_changes_no_cell(tmp_path, monkeypatch):
    home = tmp_path / "ipython" / "profile_default"
    (home / "startup").mkdir(parents=True)
    (home / "startup" / "00.py").write_text("import pandas; pandas.set_option('display.max_rows', 2); odd = 1")
    (home / "ipython_config.py").write_text("c.InteractiveShell.ast_node_interactivity = 'all'")
    (home / "ipython_kernel_config.py").write_text("c.IPKernelApp.exec_lines = ['print(\"odd\")']")
    (tmp_path / "startup.py").write_text("odd = 2")
    rules = tmp_path / "ipython" / "matplotlibrc"
    rules.write_text("text.usetex: True\nno.such.rule: 1\n")
    for name, value in {
        "IPYTHONDIR": tmp_path / "ipython",
        "PYTHONSTARTUP": tmp_path / "startup.py",
        "MATPLOTLIBRC": rules,
        "MPLBACKEND": "nonsense",
    }.items():
        monkeypatch.setenv(name, str(value))
    code = "1\nimport matplotlib, pandas\n('odd' in globals(), matplotlib.rcParams['text.usetex'], "
    code += "pandas.get_option('display.max_rows'))"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(code)],
        metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "n.ipynb")
    found = run_notebook(tmp_path / "n.ipynb", tmp_path / "done.ipynb", tmp_path, {})
    outputs = [output for cell in found.cells for output in cell.get("outputs", ())]
    assert [output["data"]["text/plain"] for output in outputs] == ["(False, False, 60)"]
