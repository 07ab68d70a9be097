"""Assess every claim of the paper on a profile's sweep table: runs/<profile>/claims.json."""

import argparse
from collections.abc import Sequence

from alit.analysis.claims import ledger_to_json
from alit.analysis.study_data import load_run_data
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.studies import all_claims


def main(argv: Sequence[str] | None = None) -> None:
    """Write the ledger and print one line per claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    data = load_run_data(paths)
    claims = []
    for name, assess_claim in all_claims().items():
        claims.append(claim := assess_claim(data))
        print(f"{name}  {claim.verdict:<20}  {claim.reason}", flush=True)
    paths.claims.write_text(ledger_to_json(claims), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
