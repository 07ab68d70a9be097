"""The notebooks: committed clean, and run from any directory on any table."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from checkout import ROOT
from synthetic_tables import synthetic_table, write_project

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURES = {
    "reconstruction": {"rate_distortion", "by_bits", "selected_lengths"},
    "complexity": {
        "loss_by_complexity",
        "length_by_complexity",
        "correlations",
        "given_codecs",
        "by_error",
        "controlled",
    },
    "familiarity": {"gaps", "detection"},
    "attention": {"overlap", "lead", "sparsity", "images_maps"},
    "codebook": {"usage", "use", "kept", "nearest", "images_closest_pairs"},
    "probe": {"by_iteration", "by_latents", "grids"},
    "tsc_toi": {
        "fig05_accuracy",
        "fig06_l1",
        "fig14_class",
        "fig15_depth",
        "perceptual",
        "caption",
        "equal_capacity",
        "oracle_gaps",
    },
    "strength": {"performance_by_strength", "drop_by_strength", "depth_agreement"},
    "ablations": {"one_pass_or_many", "paired_changes"},
    "cost": {"encode", "encode_until", "decode"},
}
ASK_PIXELS_ONLY = ("reconstruction", "familiarity")  # and features, which any image has
STUDIES_OF_A_SWEEP = yaml.safe_load((ROOT / "params.yaml").read_text())["studies"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param


@pytest.fixture(autouse=True)
def _quiet_kernel(monkeypatch):
    # The kernel's debugger warns on stderr about frozen modules, which has nothing to do with the notebook.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning,error::RuntimeWarning,error::FutureWarning")


def run(notebook: Path, folder: Path, monkeypatch, **parameters) -> nbformat.NotebookNode:
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    return papermill.execute_notebook(str(notebook), "out.ipynb", parameters=parameters, progress_bar=False)


def test_every_study_has_a_notebook():
    assert {path.stem for path in NOTEBOOKS} >= set(FIGURES)


def test_it_is_committed_without_outputs_and_with_stable_ids(notebook):
    content = json.loads(notebook.read_text())
    nbformat.validate(nbformat.from_dict(content))
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["id"] for cell in content["cells"]] == [f"c{i}" for i in range(len(content["cells"]))]
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_it_is_short_and_defines_nothing(notebook):
    content = nbformat.read(notebook, as_version=4)
    assert len(content.cells) < 15
    for cell in content.cells:
        if cell.cell_type == "code":
            assert "def " not in cell.source
            assert "lambda" not in cell.source
            assert "class " not in cell.source


def test_its_parameters_have_working_defaults(notebook):
    content = nbformat.read(notebook, as_version=4)
    tagged = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [cell for cell in content.cells if cell.cell_type == "code"][:1]
    found = papermill.inspect_notebook(str(notebook))
    asks_a_sweep = {"tokenizer": '""'} if notebook.stem in STUDIES_OF_A_SWEEP else {}
    assert {name: part["default"] for name, part in found.items()} == {
        "profile": '"cpu"',
        "root": '""',
        "figures": '""',
        **asks_a_sweep,
    }


def test_it_runs_from_another_directory_and_writes_its_figures(notebook, tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    executed = run(notebook, tmp_path / "elsewhere", monkeypatch, profile="smoke", root=str(paths.root))
    folder = paths.report / notebook.stem / "figures"
    expected = {f"{name}.{kind}" for name in FIGURES[notebook.stem] for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == expected
    assert "paper" in executed.cells[-1].outputs[0]["data"]["text/html"]
    shown = [output for cell in executed.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("<img alt=" in output["data"].get("text/html", "") for output in shown) == len(FIGURES[notebook.stem])


def test_a_baseline_is_asked_in_place_of_the_profiles_own_tokenizer(tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    other = paths._replace(swept="blocks")
    paths.baselines.mkdir()
    paths.sweep.rename(other.sweep)
    notebook = next(path for path in NOTEBOOKS if path.stem == "tsc_toi")
    run(notebook, tmp_path, monkeypatch, profile="smoke", root=str(paths.root), tokenizer="blocks")
    folder = tmp_path / "checkout" / "reports" / "smoke" / "baselines" / "blocks" / "tsc_toi" / "figures"
    assert {path.stem for path in folder.iterdir()} == FIGURES["tsc_toi"]


def test_it_finds_the_checkout_that_it_is_run_in(notebook, tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    run(notebook, paths.root / "deep" / "inside", monkeypatch, profile="smoke", figures=str(tmp_path / "figures"))
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(FIGURES[notebook.stem])


def test_it_says_what_a_table_without_labels_depth_and_complexity_cannot_show(notebook, tmp_path, monkeypatch):
    bare = synthetic_table(60, ("val", "near", "far"), columns=())
    paths = write_project(tmp_path / "checkout", table=bare)
    executed = run(notebook, tmp_path, monkeypatch, profile="smoke", root=str(paths.root))
    verdicts = executed.cells[-1].outputs[0]["data"]["text/html"]
    assert ("not measurable here" in verdicts) == (notebook.stem not in ASK_PIXELS_ONLY)
