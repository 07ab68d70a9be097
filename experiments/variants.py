"""Stage `variants`: train every variant of the profile that the ablations compare, once per seed."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alit.data.imageset import ImageSet, Subset
from alit.errors import run_command
from alit.models.loading import load_base, save_base
from alit.models.weights import WEIGHTS_FILE
from alit.tasks.perceptual import build_perceptual
from alit.training import variants
from alit.training.engine.checkpoint import TRAINING_FILE, plain, resume_dir, save_stage
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.loop import LOG_FILE
from alit.training.variants import TrainingSettings, VariantsConfig
from experiments.network_stage import NetworkStage

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/variants/<name>/<seed>/`; finished trainings stay, an interrupted one continues."""
    stage = NetworkStage(argv, main.__doc__)
    paths, config = stage.paths, stage.read("variants", VariantsConfig)
    if not config.trainings:
        shutil.rmtree(paths.variants, ignore_errors=True)
        return paths.variants.mkdir(parents=True)
    images, profile = stage.train_set, stage.read_all(TrainingSettings, data=stage.data_config)
    inputs = [images.folder / "manifest.csv", paths.base / WEIGHTS_FILE]
    scratch = resume_dir(paths.scratch, "variants", {"seed": profile.seed}, inputs)
    execution = stage.read("execution", ExecutionConfig)
    fabric = stage.fabric(profile.distill.optimization.precision, tf32=execution.tf32)
    finished: dict[str, Path] = {}
    own: dict[str, dict[str, Any]] = {}
    for each in config.trainings:
        variant = variants.vary_training(profile, config, each.name)
        base, whole = paths.base, _images(stage, profile, variant)
        if not variants.shares_base(variant, profile):
            base = _train_base(variant, images, fabric, scratch, execution)
        for seed in each.seeds:
            if variants.is_stage_1(variant, profile, seed):  # trained by the stage before
                finished[f"{each.name}/{seed}"] = paths.distilled
                continue
            if variants.is_own(variant, profile, seed):
                finished[f"{each.name}/{seed}"] = paths.tokenizer
                own[f"{each.name}/{seed}"] = variants.variant_settings(variant, seed)
                continue
            where = {"fabric": fabric, "scratch": scratch, "execution": execution}
            folder = _train(f"{each.name}_{seed}", variant, seed, base, whole, **where)
            finished[f"{each.name}/{seed}"] = folder
    if fabric.is_global_zero:
        shutil.rmtree(paths.variants, ignore_errors=True)
        for name, folder in finished.items():
            shutil.copytree(folder, paths.variants / name)
        for name, settings in own.items():  # a variant's card and log are those of stage 1
            (paths.variants / name / TRAINING_FILE).write_text(json.dumps(plain(settings), indent=2) + "\n")
            shutil.copyfile(paths.distilled / LOG_FILE, paths.variants / name / LOG_FILE)
        shutil.rmtree(scratch, ignore_errors=True)


def _images(stage: NetworkStage, profile: TrainingSettings, variant: TrainingSettings) -> ImageSet:
    """Open the set that a variant trains on."""
    wanted = variants.set_of_path(profile, variant)
    return stage.train_set if wanted.role == "train" else stage.sets([wanted.name])[0]


def _train_base(
    variant: TrainingSettings, images: ImageSet, fabric: "Fabric", scratch: Path, execution: ExecutionConfig
) -> Path:
    """Train the base tokenizer of a variant that has its own, unless it is there; return its folder."""
    settings = variants.base_settings(variant)
    folder = resume_dir(scratch, "base", settings, [])
    training, finished = folder / "training", folder / "finished"
    if not finished.is_dir():
        base = variants.train_variant_base(variant, images, build_perceptual, fabric, training, execution)
        save_stage(fabric, finished, partial(save_base, base), settings, training)
    return finished


def _train(
    name: str,
    variant: TrainingSettings,
    seed: int,
    base: Path,
    whole: ImageSet,
    *,
    fabric: "Fabric",
    scratch: Path,
    execution: ExecutionConfig,
) -> Path:
    """Train a variant on the base tokenizer in `base`, unless it is there; return its folder."""
    images = Subset(whole, next(part.images for part in variant.data.sets if part.role == "train"))
    settings = variants.variant_settings(variant, seed)
    folder = resume_dir(scratch, name, settings, [base / WEIGHTS_FILE, whole.folder / "manifest.csv"])
    if not (folder / "finished").is_dir():
        print(f"variant {name}", flush=True)
        tokenizer = variants.train_variant(
            variant,
            load_base(base),
            images,
            build_perceptual,
            seed,
            fabric=fabric,
            scratch=folder,
            base_tokens=scratch / f"base_tokens_{base.parent.name}_{whole.name}_{len(images)}",
            execution=execution,
        )
        save_stage(fabric, folder / "finished", tokenizer.save_pretrained, settings, folder / "distill")
    return folder / "finished"


if __name__ == "__main__":
    run_command(main)
