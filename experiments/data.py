"""Stage `data`: turn every image set of a profile into a folder with a manifest."""

import shutil
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.locate import data_roots
from alit.data.prepare import DataConfig, materialize_sets
from alit.errors import run_command
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/data/` and `runs/<profile>/rejected.csv`."""
    stage = Stage(argv, main.__doc__)
    load_profile(stage.paths.config)  # this stage comes first: a fault in any section shows here
    paths = stage.paths
    shutil.rmtree(paths.data, ignore_errors=True)  # sets that the profile no longer names must not linger
    materialize_sets(stage.read("data", DataConfig), paths.data, paths.rejected, data_roots(paths.root))


if __name__ == "__main__":
    run_command(main)
