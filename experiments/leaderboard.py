"""Stage `leaderboard`: compare all tokenizers of a run on the same images; or add a result that somebody sent in."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from alit.analysis.loading import load_study_data
from alit.analysis.sweep_folder import find_sweep, read_table
from alit.errors import DataError, run_command
from alit.paths import TRAINING, RunPaths, project_root
from alit.report.leaderboard.compute import BUDGETS, compute_result, own_budget
from alit.report.leaderboard.page import FOLDER, write_leaderboard
from alit.report.leaderboard.result_file import ResultFile, read_result, require_comparable, write_result
from alit.report.site import Site, provenance
from alit.settings import read_yaml
from experiments.stage import Stage

OWN = "own"  # the profile's tokenizer among those that were timed


def main(argv: Sequence[str] | None = None) -> None:
    """Write `reports/<profile>/`: leaderboard.html, leaderboard.csv, and the result file of each tokenizer.

    `add FILE [--profile NAME]` checks a result file against the run's images and puts it into results/leaderboard/.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["add"]:
        return _add(words[1:])
    paths = Stage(words, main.__doc__).paths
    results = run_results(paths)
    taken = {each.tokenizer: each for each in results}
    for path in sorted(sent_folder(paths).glob("*.json")):
        sent = read_result(path).model_copy(update={"kind": "sent in"})
        require_comparable(sent, results[0], taken, str(path))
        taken[sent.tokenizer] = sent
    shutil.rmtree(paths.report / FOLDER, ignore_errors=True)  # files of tokenizers that are no longer there
    for result in results:
        write_result(result, paths.report / FOLDER / f"{result.tokenizer}.json")
    write_leaderboard(Site(paths.report, provenance(paths.profile, paths.table)), list(taken.values()))


def run_results(paths: RunPaths) -> list[ResultFile]:
    """Return the result of every tokenizer of a run: its own first, those that lack its images left out."""
    costs = _tables(paths, "cost")
    command = f"make repro PROFILE={paths.profile}"
    own = load_study_data(find_sweep(paths.sweep), trainings=False)
    sweeps = {OWN: own._replace(tables=costs | _tables(paths, "codebook"))}
    for table in sorted(paths.baselines.glob("*/table.parquet")):
        data = load_study_data(find_sweep(table.parent), trainings=False)
        if own.dataset in data.grid.datasets:
            sweeps[table.parent.name] = data._replace(dataset=own.dataset, tables=costs)
    budgets = BUDGETS | {bits for data in sweeps.values() if (bits := own_budget(data)) is not None}
    results = []
    for name, data in sweeps.items():
        kind = "own" if name == OWN else "another training" if name.startswith(TRAINING) else "baseline"
        results.append(compute_result(data, name=name, kind=kind, command=command, budgets=budgets))
    return results


def _tables(paths: RunPaths, study: str) -> dict[str, pd.DataFrame]:
    return {path.stem: read_table(path) for path in sorted(paths.measured(study).glob("*.parquet"))}


def sent_folder(paths: RunPaths) -> Path:
    """Return where the results that others sent in for a profile are kept."""
    return paths.root / "results" / "leaderboard" / paths.profile


def _add(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Add a result file that somebody sent in to a profile's leaderboard.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--profile", help="by default that of params.yaml")
    arguments = parser.parse_args(argv)
    root = project_root()
    profile = arguments.profile or read_yaml(root / "params.yaml")["profile"]
    paths = RunPaths(root, profile)
    files = sorted((paths.report / FOLDER).glob("*.json"))
    run = {each.tokenizer: each for each in map(read_result, files)}
    if not run:
        raise DataError(f"expected a leaderboard of {profile} to add to, found none; run: dvc repro leaderboard")
    sent = read_result(arguments.file)
    target = sent_folder(paths) / f"{sent.tokenizer}.json"
    others = {
        path.stem: path for path in sent_folder(paths).glob("*.json") if path != target
    }  # a newer one replaces its own
    own = next((each for each in run.values() if each.kind == "own"), next(iter(run.values())))
    require_comparable(sent, own, run | others, str(arguments.file))
    write_result(sent, target)
    print(f"added {target.relative_to(root)}; dvc repro leaderboard shows it", flush=True)


if __name__ == "__main__":
    run_command(main)
