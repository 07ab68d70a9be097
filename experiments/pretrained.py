"""Stage `pretrained`: take the trained networks that this profile names: `init_from`, and finished variants.

A stage of its own, so that a change in zoo/ trains nothing again but what goes on from the changed checkpoint.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alit.errors import CheckpointError, ConfigError, run_command
from alit.models.distillation import TokenizerConfig
from alit.models.loading import save_base
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE, weights_sha256
from alit.paths import TARGET, RunPaths
from alit.tokenizer.adapters import TargetConfig, load_tokenizer, write_target
from alit.tokenizer.opening import OpenedCheckpoint, open_checkpoint, require_same_networks
from alit.tokenizer.origin import Origin, write_origin
from alit.tokenizer.protocol import options_of
from experiments.stage import Stage

LOGS = ("log.csv", "training.json")  # of a training; the report draws its curves


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/pretrained/`, networks and origin of `init_from`, and `kept/`, finished variants."""
    stage = Stage(argv, main.__doc__)
    init_from, folder = stage.read("init_from", str), stage.paths.pretrained
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "init_from.txt").write_text(f"{init_from}\n")
    if init_from == TARGET:
        name_target(stage.read("tokenizer", TargetConfig), stage.read("data.image_size", int), stage.paths)
    elif init_from != "scratch":
        tokenizer = stage.read("tokenizer", TokenizerConfig | None)
        heads = None if tokenizer is None else tokenizer.distillation.heads
        opened = open_checkpoint(init_from, stage.paths.root, heads=heads)
        if tokenizer is not None:
            require_same_networks(tokenizer, opened.tokenizer.config, init_from)
        size, found = stage.read("data.image_size", int), opened.tokenizer.config.image_size
        if size != found:
            raise CheckpointError(f"{init_from}: expected data.image_size {size} as in the profile, found {found}")
        write_networks(opened, folder)
        print(f"init_from: {opened.origin.describe()}", flush=True)
    keep_variants(stage.read("variants.trainings", tuple[dict[str, Any], ...]), stage.paths)


def keep_variants(trainings: Sequence[Mapping[str, Any]], paths: RunPaths) -> None:
    """Write `runs/<profile>/kept/<variant>/<seed>/`: the folders of the trainings that variants name.

    Raises:
        CheckpointError: one holds no checkpoint.
    """
    shutil.rmtree(paths.kept, ignore_errors=True)
    paths.kept.mkdir(parents=True)
    for each in trainings:
        for seed, source in each.get("checkpoints", {}).items():
            folder, name = paths.root / Path(source).expanduser(), each["name"]
            for file in (CONFIG_FILE, WEIGHTS_FILE):
                if not (folder / file).is_file():
                    raise CheckpointError(f"expected {file} in {folder} (variants.trainings {name}), found none")
            shutil.copytree(folder, paths.kept / name / str(seed))


def name_target(named: TargetConfig, image_size: int, paths: RunPaths) -> None:
    """Let the profile's folders stand for somebody else's tokenizer, once it was loaded and is of the images' size."""
    folder, device = paths.pretrained, torch.device("cpu")
    tokenizer = load_tokenizer(
        named.target, named.arguments, folder=paths.run, image_size=image_size, device=device, options=named.options
    )
    if tokenizer.image_size != image_size and not options_of(tokenizer).resize_images:
        raise ConfigError(
            f"{named.target}: expected data.image_size {tokenizer.image_size}, found {image_size}; or say "
            "resize_images: true in its options"
        )
    for part in ("tokenizer", "base"):
        write_target(named, folder / part)
    (folder / "distilled").mkdir()
    digest = weights_sha256(tokenizer) if isinstance(tokenizer, nn.Module) else "no weights"
    version = options_of(tokenizer).version
    origin = Origin(checkpoint=f"{tokenizer.name} {version}".rstrip() + f", {named.target}", sha256=digest)
    write_origin(folder / "tokenizer", origin)
    print(f"tokenizer: {origin.describe()}", flush=True)


def write_networks(opened: OpenedCheckpoint, folder: Path) -> None:
    """Write the tokenizer and its base into `folder`, and the logs of their training where there are any.

    A checkpoint may bring the base tokenizer that it was distilled from as `base/`, and the log of stage 1 as
    `stage_1/`. Without the former's weights, the base is taken out of the tokenizer, as its last training left it.
    """
    tokenizer, source = opened.tokenizer, opened.folder
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "tokenizer" / "README.md").unlink(missing_ok=True)  # the card is that of a release
    write_origin(folder / "tokenizer", opened.origin)
    (folder / "distilled").mkdir()  # the weights are those after stage 2, the log is each stage's own
    if source is not None and (source / "base" / CONFIG_FILE).is_file():
        shutil.copytree(source / "base", folder / "base")
    else:
        (folder / "base").mkdir()
        save_base(tokenizer.base, folder / "base")
    for part, place in (("", "tokenizer"), ("stage_1", "distilled"), ("base", "base")):
        for log in LOGS:
            if source is not None and (source / part / log).is_file():
                shutil.copyfile(source / part / log, folder / place / log)


if __name__ == "__main__":
    run_command(main)
