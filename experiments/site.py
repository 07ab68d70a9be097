"""Stage `site`: build every page of a profile's report, and the ledger of all claims."""

import shutil
from collections.abc import Sequence

import nbformat
import yaml

from alit.analysis.ledger import ledger_from_json, ledger_to_json
from alit.config import load_profile
from alit.errors import run_command
from alit.report.notebooks import NOTEBOOK_FILE, code_html, read_study, results_html
from alit.report.pages import (
    IMAGES,
    read_claims,
    write_claims,
    write_differences,
    write_index,
    write_reconstructions,
    write_training,
)
from alit.report.site import Site, provenance, write_study_pages
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pages of `reports/<profile>/`, and `runs/<profile>/claims.json`."""
    paths = Stage(argv, main.__doc__).paths
    names = list(yaml.safe_load((paths.root / "params.yaml").read_text())["studies"])
    ledgers = [ledger_from_json(paths.study_claims(name).read_text(encoding="utf-8")) for name in names]
    claims = sorted((claim for ledger in ledgers for claim in ledger), key=lambda claim: int(claim.id[1:]))
    paths.claims.write_text(ledger_to_json(claims), encoding="utf-8")
    shutil.rmtree(paths.report / IMAGES, ignore_errors=True)  # pictures of an earlier run must not linger
    site = Site(paths.report, provenance(paths.profile, paths.table))
    site.write_style()
    studies = tuple(read_study(paths.executed(name)) for name in names)
    for study in studies:
        notebook = nbformat.read(paths.executed(study.name) / NOTEBOOK_FILE, as_version=4)
        write_study_pages(site, study, results_html(notebook), code_html(notebook))
        shutil.copyfile(paths.root / "notebooks" / f"{study.name}.ipynb", paths.report / study.name / NOTEBOOK_FILE)
    write_index(site, paths, read_claims(paths.claims), studies)
    write_claims(site, read_claims(paths.claims), studies)
    write_training(site, paths)
    write_reconstructions(site, paths)
    paper, here = (
        load_profile(path).model_dump(mode="json") for path in (paths.config.with_name("paper.yaml"), paths.config)
    )
    write_differences(site, paths, paper, here)


if __name__ == "__main__":
    run_command(main)
