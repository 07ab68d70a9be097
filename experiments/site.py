"""Stage `site`: build every page of a profile's report, and the ledger of all claims."""

import shutil
from collections.abc import Sequence

import nbformat
import pandas as pd

from alit.analysis.claims import claim_order
from alit.analysis.ledger import ledger_from_json, ledger_to_json
from alit.config import load_profile
from alit.errors import run_command
from alit.files import read_json
from alit.paths import RunPaths
from alit.report.claims_page import write_claims
from alit.report.differences import write_differences
from alit.report.notebooks import NOTEBOOK_FILE, code_html, results_html
from alit.report.pages import write_index, write_reconstructions, write_training
from alit.report.site import IMAGES, Site, provenance, write_study_pages
from alit.report.study_page import read_study
from alit.settings import read_yaml
from alit.sweep.overlap import describe_judges
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pages of `reports/<profile>/`, and `runs/<profile>/claims.json`."""
    paths = Stage(argv, main.__doc__).paths
    names = list(read_yaml(paths.root / "params.yaml")["studies"])
    ledgers = [ledger_from_json(paths.study_claims(name).read_text(encoding="utf-8")) for name in names]
    claims = sorted((claim for ledger in ledgers for claim in ledger), key=lambda claim: claim_order(claim.id))
    paths.claims.write_text(ledger_to_json(claims), encoding="utf-8")
    shutil.rmtree(paths.report / IMAGES, ignore_errors=True)  # pictures of an earlier run must not linger
    site = Site(paths.report, provenance(paths.profile, paths.table))
    site.write_style()
    studies = tuple(read_study(paths.executed(name)) for name in names)
    for study in studies:
        notebook = nbformat.read(paths.executed(study.name) / NOTEBOOK_FILE, as_version=4)
        write_study_pages(site, study, results_html(notebook), code_html(notebook))
        shutil.copyfile(paths.root / "notebooks" / f"{study.name}.ipynb", paths.report / study.name / NOTEBOOK_FILE)
    alt = write_claims(site, claims, studies, judge_notes(paths))
    write_index(site, paths, claims, studies, alt)
    write_training(site, paths)
    write_reconstructions(site, paths)
    paper, here = (
        load_profile(path).model_dump(mode="json") for path in (paths.config.with_name("paper.yaml"), paths.config)
    )
    write_differences(site, paths, paper, here)


def judge_notes(paths: RunPaths) -> list[str]:
    """Return what is known of the judges' training images, in sentences, from the sweep and its record."""
    record = paths.sweep / "config.json"
    if not record.is_file():
        return []
    sets = read_yaml(paths.config)["data"]["sets"]
    dataset = next((part["name"] for part in sets if part["role"] == "evaluate"), "")
    table = pd.read_parquet(paths.table, columns=["dataset", "image_id", "length"])
    return describe_judges(table, read_json(record), dataset)


if __name__ == "__main__":
    run_command(main)
