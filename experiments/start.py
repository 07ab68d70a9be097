"""Stage `start`: fetch the trained networks that this profile goes on from, if it names any (`init_from`)."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from alit.config import Profile, load_profile
from alit.errors import CheckpointError, run_command
from alit.models.distillation import TokenizerConfig
from alit.models.weights import CONFIG_FILE
from alit.paths import RunPaths, project_root
from alit.settings import parse_settings


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/start/`: a copy of the checkpoint's networks, and a note of where they come from."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    shutil.rmtree(paths.start, ignore_errors=True)
    paths.start.mkdir(parents=True)
    if profile.init_from != "scratch":
        fetch(paths.root / profile.init_from, paths.start, profile)
    (paths.start / "init_from.txt").write_text(f"{profile.init_from}\n")


def fetch(checkpoint: Path, folder: Path, profile: Profile) -> None:
    """Copy a checkpoint's networks into `folder`.

    Raises:
        CheckpointError: the checkpoint is missing, or its networks are not the profile's.
    """
    path = checkpoint / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(
            f"expected a checkpoint in {checkpoint} (init_from), found none; or set init_from: scratch"
        )
    found = parse_settings(TokenizerConfig, json.loads(path.read_text()), source=str(path))
    if found != profile.tokenizer:
        raise CheckpointError(f"expected the networks of section tokenizer in {path}, found others; make the two agree")
    shutil.copytree(checkpoint / "base", folder / "base")
    for part in ("distilled", "tokenizer"):  # the weights are those after stage 2, the log is each stage's own
        shutil.copytree(
            checkpoint, folder / part, ignore=shutil.ignore_patterns("base", "stage_1", "*.md", "card.json")
        )
    shutil.copytree(checkpoint / "stage_1", folder / "distilled", dirs_exist_ok=True)


if __name__ == "__main__":
    run_command(main)
