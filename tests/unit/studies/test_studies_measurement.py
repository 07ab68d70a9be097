"""Studies that look into a tokenizer take a measurement of it, and say in one line where there is none."""

import shutil

import pandas as pd
import papermill
import pytest
from checkout import ROOT
from papermill.exceptions import PapermillExecutionError
from synthetic_codebook import codebook_tables, synthetic_ids
from synthetic_tables import write_project

from alit.errors import DataError
from alit.paths import RunPaths
from alit.studies import open_study

STUDIES = ("probe", "attention", "codebook", "ablations", "cost")


@pytest.fixture
def paths(tmp_path) -> RunPaths:
    """A run whose own tokenizer was measured, and the sweep of a baseline."""
    paths = write_project(tmp_path / "checkout")
    shutil.copytree(paths.sweep, paths.baselines / "blocks")
    return paths


@pytest.mark.parametrize("name", STUDIES)
def test_the_measurement_of_the_sweeps_own_run_is_the_default(name, paths):
    tables = open_study(name, paths.sweep, measured="").data.tables
    assert set(tables) == {path.stem for path in paths.measured(name).iterdir()}


@pytest.mark.parametrize("name", STUDIES)
def test_a_tokenizer_without_a_measurement_is_refused_and_nothing_is_written(name, paths):
    before = sorted(paths.root.rglob("*"))
    with pytest.raises(DataError, match=f"expected a measurement of {name} for the tokenizer of .*blocks, found none"):
        open_study(name, paths.baselines / "blocks", measured="")
    assert sorted(paths.root.rglob("*")) == before


def test_a_measurement_of_another_tokenizer_is_taken_from_its_folder(paths, tmp_path):
    folder = tmp_path / "measured"
    folder.mkdir()
    for name, table in codebook_tables({"val": synthetic_ids(5)}).items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    study = open_study("codebook", paths.baselines / "blocks", measured=folder)
    assert len(study.data.tables["codebook_neighbors"]) == 3 * 5  # one of each image and iteration
    assert "blocks" in study.figures.parts


def test_a_folder_without_tables_is_refused(paths, tmp_path):
    with pytest.raises(DataError, match="found none"):
        open_study("cost", paths.sweep, measured=tmp_path)


@pytest.mark.slow
def test_the_notebook_of_a_tokenizer_without_a_measurement_writes_no_figure(paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parameters = {"sweep": str(paths.baselines / "blocks")}
    with pytest.raises(PapermillExecutionError, match="expected a measurement of codebook"):
        papermill.execute_notebook(
            str(ROOT / "notebooks" / "codebook.ipynb"), "out.ipynb", parameters=parameters, progress_bar=False
        )
    assert not list(tmp_path.rglob("*.png"))


def test_tables_of_a_measurement_are_read_by_name(paths):
    data = open_study("ablations", paths.sweep, measured="").data
    pd.testing.assert_frame_equal(
        data.tables["ablation_costs"], pd.read_parquet(paths.measured("ablations") / "ablation_costs.parquet")
    )
