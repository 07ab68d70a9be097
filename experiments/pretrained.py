"""Stage `pretrained`: copy the trained networks that this profile goes on from, if it names any (`init_from`).

A stage of its own, so that a change in zoo/ trains nothing again but what goes on from the changed checkpoint.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from alit.errors import CheckpointError, run_command
from alit.models.distillation import TokenizerConfig
from alit.models.weights import CONFIG_FILE
from alit.settings import parse_settings
from experiments.stage import Stage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/pretrained/`: the checkpoint's networks, and a note of where they come from."""
    stage = Stage(argv, main.__doc__)
    init_from, folder = stage.read("init_from", str), stage.paths.pretrained
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if init_from != "scratch":
        copy_networks(stage.paths.root / init_from, folder, stage.read("tokenizer", TokenizerConfig))
    (folder / "init_from.txt").write_text(f"{init_from}\n")


def copy_networks(checkpoint: Path, folder: Path, tokenizer: TokenizerConfig) -> None:
    """Copy a checkpoint's networks into `folder`, one folder for each stage that would have trained them.

    Raises:
        CheckpointError: the checkpoint is missing, or its networks are not those of `tokenizer`.
    """
    path = checkpoint / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(
            f"expected a checkpoint in {checkpoint} (init_from), found none; or set init_from: scratch"
        )
    found = parse_settings(TokenizerConfig, json.loads(path.read_text()), source=str(path))
    if found != tokenizer:
        raise CheckpointError(f"expected the networks of section tokenizer in {path}, found others; make the two agree")
    shutil.copytree(checkpoint / "base", folder / "base")
    for part in ("distilled", "tokenizer"):  # the weights are those after stage 2, the log is each stage's own
        shutil.copytree(
            checkpoint, folder / part, ignore=shutil.ignore_patterns("base", "stage_1", "*.md", "card.json")
        )
    shutil.copytree(checkpoint / "stage_1", folder / "distilled", dirs_exist_ok=True)


if __name__ == "__main__":
    run_command(main)
