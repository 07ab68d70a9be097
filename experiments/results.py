"""Keep a profile's results where git holds them: tables, ledger, plots and RESULTS.md; or check those that are kept.

Run by hand, not by the pipeline: `python -m experiments.results imagenette`, and `--check` for the second.
"""

import argparse
import shutil
from collections.abc import Sequence

import pandas as pd

from alit.analysis.claims import ledger_from_json, recheck
from alit.analysis.study_data import load_run_data
from alit.config import load_profile
from alit.errors import DataError, run_command
from alit.paths import RunPaths, project_root
from alit.report.card import results_text
from alit.report.pages import differences
from alit.studies import assess


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/` and `RESULTS.md` from `runs/<profile>/` and `reports/<profile>/`, or check `results/`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("--check", action="store_true", help="compute the verdicts again from the kept tables")
    arguments = parser.parse_args(argv)
    paths = RunPaths(project_root(), arguments.profile)
    kept = RunPaths(paths.root / "results", arguments.profile)
    if arguments.check:
        check(kept)
    else:
        keep(paths, kept)
        (paths.root / "RESULTS.md").write_text(results(kept, paths), encoding="utf-8")


def keep(paths: RunPaths, kept: RunPaths) -> None:
    """Copy tables, ledger, settings and plots. No photographs: figures that show images stay behind."""
    for folder in (kept.run, kept.report):
        shutil.rmtree(folder, ignore_errors=True)
    files = [paths.config, paths.config.with_name("paper.yaml"), paths.claims, paths.table, paths.sweep / "config.json"]
    files += sorted(paths.baselines.glob("*/table.parquet"))
    files += sorted(paths.measured("").glob("*/*.parquet"))
    files += [path for path in sorted(paths.report.glob("*/figures/*.png")) if not path.stem.startswith("images_")]
    for path in files:
        target = kept.root / path.relative_to(paths.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def results(kept: RunPaths, paths: RunPaths) -> str:
    """Return the text of RESULTS.md."""
    profile, published = load_profile(kept.config), load_profile(kept.config.with_name("paper.yaml"))
    table = pd.read_parquet(kept.table, columns=["dataset", "length", "l1"])
    order = [part.name for part in profile.data.sets]
    notes = kept.root / "notes.md"
    return results_text(
        kept.profile,
        claims=ledger_from_json(kept.claims.read_text(encoding="utf-8")),
        table=table,
        order=order,
        differences=differences(profile, published),
        figures=sorted(str(path.relative_to(paths.root)) for path in kept.report.glob("*/figures/*.png")),
        notes=notes.read_text(encoding="utf-8") if notes.is_file() else "",
    )


def check(kept: RunPaths) -> None:
    """Compute every claim again from the kept tables and compare.

    Raises:
        DataError: there are no results, or something differs; each fault is printed.
    """
    if not kept.claims.is_file():
        raise DataError(
            f"expected kept results in {kept.claims}, found none; run: python -m experiments.results {kept.profile}"
        )
    ledger = ledger_from_json(kept.claims.read_text(encoding="utf-8"))
    faults = recheck(ledger, assess(load_run_data(kept)))
    for fault in faults:
        print(fault)
    if faults:
        raise DataError(f"expected the verdicts of {kept.claims} to follow from its tables, found {len(faults)} faults")
    print(f"{len(ledger)} claims of {kept.claims} follow from the tables beside it")


if __name__ == "__main__":
    run_command(main)
