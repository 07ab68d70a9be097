"""Stage `report`: build the static site around the studies' pages."""

import argparse
import shutil
from collections.abc import Sequence

import yaml

from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.report.pages import (
    IMAGES,
    read_claims,
    write_claims,
    write_differences,
    write_index,
    write_reconstructions,
    write_training,
)
from alit.report.site import Site, provenance, read_study


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pages of `reports/<profile>/` that belong to no single study."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    names = yaml.safe_load((paths.root / "params.yaml").read_text())
    studies = tuple(read_study(paths.report / name) for name in [*names["studies"], *names["measured_studies"]])
    claims = read_claims(paths.claims)
    shutil.rmtree(paths.report / IMAGES, ignore_errors=True)  # pictures of an earlier run must not linger
    site = Site(paths.report, provenance(paths.profile, paths.table))
    site.write_style()
    write_index(site, paths, claims, studies)
    write_claims(site, claims, studies)
    write_training(site, paths)
    write_reconstructions(site, paths)
    write_differences(site, paths)


if __name__ == "__main__":
    run_command(main)
