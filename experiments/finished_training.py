"""Where a finished training of a profile lies: its own, or that of one of its variants with one seed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alit.config import Profile
from alit.errors import ConfigError, DataError
from alit.models.weights import WEIGHTS_FILE
from alit.paths import RunPaths
from alit.training.engine.checkpoint import TRAINING_FILE, plain
from alit.training.engine.loop import LOG_FILE
from alit.training.variants import base_settings, shares_base, variant_settings, vary_training
from experiments.variants import records


class FinishedTraining(NamedTuple):
    """The files of a finished training, and what its stages wrote of their settings."""

    tokenizer: Path  # folder of the checkpoint
    base: Path | None  # folder of the base tokenizer that it was distilled from; None: the checkpoint has it as it was
    records: Mapping[str, Mapping[str, Any]]  # stage -> training.json
    logs: Mapping[str, Path]  # stage -> log; none of a stage that did not train


def own_training(paths: RunPaths) -> FinishedTraining:
    """Return the training that the stages `base`, `distill` and `finetune` of a profile have left in `runs/`."""
    folders = {"base": paths.base, "distill": paths.distilled, "finetune": paths.tokenizer}
    found = {stage: _read(folder / TRAINING_FILE) for stage, folder in folders.items()}
    logs = {stage: folder / LOG_FILE for stage, folder in folders.items()}
    return FinishedTraining(paths.tokenizer, paths.base, found, _those_there(logs))


def variant_training(paths: RunPaths, profile: Profile, variant: str, *, here: bool = False) -> FinishedTraining:
    """Return a training of a variant: the one that the profile takes as finished, or what stage `variants` has left.

    Args:
        paths: of the profile.
        profile: has the variant; its base tokenizer is the variant's, too, where they share it.
        variant: name and seed, as in "recurrent/1".
        here: only what stage `variants` has trained in `runs/`.

    Raises:
        ConfigError: the profile has no such variant or seed.
        DataError: it has not been trained here.
    """
    known = {f"{each.name}/{seed}": each for each in profile.variants.trainings for seed in each.seeds}
    if variant not in known:
        raise ConfigError(f"expected a variant and seed of {paths.config} ({', '.join(known)}), found {variant}")
    entry, seed = known[variant], int(variant.rpartition("/")[2])
    assert profile.training is not None  # a profile with variants trains
    settings = vary_training(profile.training, profile.variants, entry.name)
    taken = entry.checkpoints.get(seed)
    if here and taken is not None:
        raise ConfigError(
            f"expected a variant that stage `variants` trains, but {paths.config} takes {variant} from {taken}; remove "
            "that line of its checkpoints and run the stage again"
        )
    folder = paths.variants / variant if taken is None else paths.root / taken
    if not (folder / WEIGHTS_FILE).is_file():
        raise DataError(f"expected a trained tokenizer in {folder}, found none; run stage `variants` of {paths.config}")
    base = paths.base if shares_base(settings, profile.training) else folder / "base"
    written, of_base = records(folder), base / TRAINING_FILE
    found = {
        "base": _read(of_base) if of_base.is_file() else plain(base_settings(settings)),
        "distill": written["distill"],
        "finetune": written.get("finetune", _without_stage_2(plain(variant_settings(settings, seed)))),
    }
    stage_1 = folder / "stage_1" / LOG_FILE
    logs = {"distill": stage_1, "finetune": folder / LOG_FILE} if stage_1.is_file() else {"distill": folder / LOG_FILE}
    logs["base"] = base / LOG_FILE
    return FinishedTraining(folder, base if base.is_dir() else None, found, _those_there(logs))


def _without_stage_2(record: Mapping[str, Any]) -> dict[str, Any]:
    parts = {key: record[key] for key in ("seed", "data", "perceptual_trunk")}
    return {"stage": "finetune", **parts, "training": record["finetune"]}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _those_there(files: Mapping[str, Path]) -> dict[str, Path]:
    return {stage: path for stage, path in files.items() if path.is_file()}
