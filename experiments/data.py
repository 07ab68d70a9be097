"""Stage `data`: turn every image set of a profile into a folder with a manifest."""

import argparse
import shutil
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import data_roots
from alit.data.prepare import materialize_sets
from alit.errors import run_command
from alit.paths import RunPaths, project_root


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/data/` and `runs/<profile>/rejected.csv`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    config = load_profile(paths.config).data
    shutil.rmtree(paths.data, ignore_errors=True)  # sets that the profile no longer names must not linger
    materialize_sets(config, paths.data, paths.rejected, data_roots(paths.root))


if __name__ == "__main__":
    run_command(main)
