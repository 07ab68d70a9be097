"""The notebooks: committed clean, and run from any directory on any table."""

import ast
import json
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from checkout import ROOT
from papermill.exceptions import PapermillExecutionError
from synthetic_tables import synthetic_table, write_project

from alit.studies import STUDIES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURES = {
    "reconstruction": {"rate_distortion", "by_bits", "selected_lengths", "pictures"},
    "complexity": {
        "pictures",
        "loss_by_complexity",
        "length_by_complexity",
        "correlations",
        "given_codecs",
        "by_error",
        "controlled",
    },
    "familiarity": {"gaps", "within_sets", "detection"},
    "attention": {"overlap", "lead", "sparsity", "layers", "images_maps", "halting", "images_halted"},
    "codebook": {"usage", "use", "kept", "survival", "nearest", "retrieval", "images_closest_pairs"},
    "probe": {"by_iteration", "by_latents", "grids", "parity"},
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
    "adaptivity": {"means", "promises", "who_gets_tokens"},
    "strength": {"performance_by_strength", "drop_by_strength", "depth_agreement"},
    "ablations": {"one_pass_or_many", "paired_changes", "by_length", "continuous_or_discrete", "sizes"},
    "cost": {"encode", "encode_until", "decode"},
}
CARD = {"card", "card_dark"}  # of every study; the overview shows it, the study's page does not
ASK_PIXELS_ONLY = ("reconstruction", "familiarity")  # and features, which any image has
MEASURED = {"probe", "attention", "codebook", "ablations", "cost"}  # look into the tokenizer


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param


@pytest.fixture(autouse=True)
def _quiet_kernel(monkeypatch):
    # The kernel's debugger warns on stderr about frozen modules, which has nothing to do with the notebook.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning,error::RuntimeWarning,error::FutureWarning")


def named(study: str) -> Path:
    return ROOT / "notebooks" / f"{study}.ipynb"


def run(notebook: Path, folder: Path, monkeypatch, **parameters) -> nbformat.NotebookNode:
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    return papermill.execute_notebook(str(notebook), "out.ipynb", parameters=parameters, progress_bar=False)


def test_every_study_has_a_notebook():
    assert {path.stem for path in NOTEBOOKS} == set(STUDIES) == set(FIGURES)


def test_it_is_committed_without_outputs_and_with_stable_ids(notebook):
    content = json.loads(notebook.read_text())
    nbformat.validate(nbformat.from_dict(content))
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["id"] for cell in content["cells"]] == [f"c{i}" for i in range(len(content["cells"]))]
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_its_parameters_have_working_defaults(notebook):
    content = nbformat.read(notebook, as_version=4)
    tagged = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [cell for cell in content.cells if cell.cell_type == "code"][:1]
    found = {
        name: ast.literal_eval(part["default"]) for name, part in papermill.inspect_notebook(str(notebook)).items()
    }
    assert {"sweep", "resamples", "figures"} <= set(found)
    assert ("measured" in found) == (notebook.stem in MEASURED)
    assert not any(found.values())  # empty: as the sweep's own record has it


@pytest.mark.slow
def test_it_finds_the_checkout_that_it_is_run_in_and_writes_its_figures(notebook, tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    (paths.root / "params.yaml").write_text("profile: smoke\n")
    executed = run(notebook, paths.root / "deep" / "inside", monkeypatch)
    folder = paths.report / notebook.stem / "figures"
    expected = {f"{name}.{kind}" for name in FIGURES[notebook.stem] | CARD for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == expected
    assert "paper" in executed.cells[-1].outputs[0]["data"]["text/html"]
    shown = [output for cell in executed.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("<img alt=" in output["data"].get("text/html", "") for output in shown) == len(FIGURES[notebook.stem])


@pytest.mark.slow
@pytest.mark.parametrize("study", ["familiarity", "codebook"])  # all find sweep and figures by the same two functions
def test_it_runs_from_another_directory_and_writes_where_it_is_told(study, tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    told = {"sweep": str(paths.sweep), "figures": str(tmp_path / "figures")}
    run(named(study), tmp_path / "elsewhere", monkeypatch, **told)
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(FIGURES[study] | CARD)
    assert not (paths.report / study).exists()


@pytest.mark.slow
def test_a_baselines_sweep_goes_through_the_same_notebook(tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    paths.baselines.mkdir()
    paths.sweep.rename(paths.baselines / "blocks")
    run(named("tsc_toi"), tmp_path, monkeypatch, sweep=str(paths.baselines / "blocks"))
    folder = tmp_path / "checkout" / "reports" / "smoke" / "baselines" / "blocks" / "tsc_toi" / "figures"
    assert {path.stem for path in folder.iterdir()} == FIGURES["tsc_toi"] | CARD


@pytest.mark.slow
def test_chosen_criteria_and_data_set_leave_the_figures_of_the_report_alone(tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    chosen = {"dataset": "near", "criteria": {"l1": [0.05, 0.1]}}  # as the README has them
    run(named("tsc_toi"), tmp_path, monkeypatch, sweep=str(paths.sweep), **chosen)
    assert not (paths.report / "tsc_toi").exists()
    assert list((paths.report / "chosen" / "tsc_toi" / "figures").glob("fig06_l1.png"))


@pytest.mark.slow
def test_a_parameter_that_it_does_not_have_is_refused(tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    with pytest.raises(PapermillExecutionError, match="expected parameters of the notebook"):
        run(named("reconstruction"), tmp_path, monkeypatch, sweep=str(paths.sweep), profile="smoke")


@pytest.mark.slow
def test_it_says_what_a_table_without_labels_depth_and_complexity_cannot_show(notebook, tmp_path, monkeypatch):
    bare = synthetic_table(60, ("val", "near", "far"), columns=())
    paths = write_project(tmp_path / "checkout", table=bare)
    if notebook.stem in MEASURED:
        with pytest.raises(PapermillExecutionError, match=f"expected a measurement of {notebook.stem}"):
            run(notebook, tmp_path, monkeypatch, sweep=str(paths.sweep))
        return
    executed = run(notebook, tmp_path, monkeypatch, sweep=str(paths.sweep))
    verdicts = executed.cells[-1].outputs[0]["data"]["text/html"]
    assert ("not measurable" in verdicts) == (notebook.stem not in ASK_PIXELS_ONLY)


@pytest.mark.slow
@pytest.mark.parametrize("study", ["attention", "probe", "ablations"])
def test_a_study_whose_measurement_lacks_its_inputs_says_why(study, tmp_path, monkeypatch):
    paths = write_project(tmp_path / "checkout")
    folder = paths.measured(study)
    for table in folder.glob("*.parquet"):
        if study == "ablations" and table.stem in ("ablation_references", "ablation_comparisons"):
            kept = pd.read_parquet(table)  # as a run without variants leaves them
            kept.iloc[: 0 if table.stem == "ablation_comparisons" else None].to_parquet(table)
        else:
            table.unlink()
    if study != "ablations":
        pd.DataFrame({"reason": ["there is no tea"]}).to_parquet(folder / f"{study}_not_measured.parquet")
    executed = run(named(study), tmp_path, monkeypatch, sweep=str(paths.sweep))
    verdicts = executed.cells[-1].outputs[0]["data"]["text/html"]
    assert "not measurable" in verdicts
    assert ("there is no tea" in verdicts) == (study != "ablations")
    assert len(list((paths.report / study / "figures").iterdir())) == 2 * len(FIGURES[study] | CARD)
