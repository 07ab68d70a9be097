"""Stage `explorer`: write the page on which criteria can be tried on pictures."""

from collections.abc import Sequence

import pandas as pd

from alit.analysis.loading import load_study_data
from alit.analysis.sweep_folder import find_sweep
from alit.errors import run_command
from alit.report.explorer.page import write_explorer
from alit.report.site import Site, provenance
from alit.report.terms import shows_private_pictures
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `reports/<profile>/explorer.html`."""
    paths = Stage(argv, main.__doc__).paths
    site = Site(paths.report, provenance(paths.profile, paths.table))
    data = load_study_data(find_sweep(paths.sweep), trainings=False)
    private = shows_private_pictures(paths.root)
    write_explorer(site, data, pd.read_parquet(paths.thumbnails), private=private, command=site.command)


if __name__ == "__main__":
    run_command(main)
