"""Stage `variants`: train every variant of the profile that the ablations compare, once per seed, or take it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alit.data.imageset import ImageSet, Subset
from alit.errors import run_command
from alit.models.distillation import TokenizerConfig
from alit.models.loading import load_base, save_base
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE
from alit.settings import parse_settings
from alit.tasks.perceptual import build_perceptual
from alit.tokenizer.opening import require_same_networks
from alit.training import variants
from alit.training.engine.checkpoint import TRAINING_FILE, plain, resume_dir, save_stage
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.loop import LOG_FILE
from alit.training.variants import TrainingSettings, VariantConfig, VariantsConfig
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
    where = {"fabric": fabric, "scratch": scratch, "execution": execution}
    finished: dict[str, Finished] = {}
    for each in config.trainings:  # a checkpoint of other settings shows before anything is trained
        variant = variants.vary_training(profile, config, each.name)
        for seed in each.checkpoints:
            finished[f"{each.name}/{seed}"] = take(paths.kept / each.name / str(seed), each, variant, seed)
    for each in config.trainings:
        variant = variants.vary_training(profile, config, each.name)
        base, whole = paths.base, _images(stage, profile, variant)
        remaining = [seed for seed in each.seeds if seed not in each.checkpoints]
        if remaining and not variants.shares_base(variant, profile):
            base = _train_base(variant, images, fabric, scratch, execution)
        for seed in remaining:
            record, log = variants.variant_settings(variant, seed), paths.distilled / LOG_FILE
            if variants.is_stage_1(variant, profile, seed):  # trained by the stage before
                found = Finished(paths.distilled)
            elif variants.is_own(variant, profile, seed):
                found = Finished(paths.tokenizer, record, log)
            else:
                found = Finished(_train(f"{each.name}_{seed}", variant, seed, base, whole, **where))
            finished[f"{each.name}/{seed}"] = found
    if fabric.is_global_zero:
        shutil.rmtree(paths.variants, ignore_errors=True)
        for name, training in finished.items():
            training.copy_to(paths.variants / name)
        shutil.rmtree(scratch, ignore_errors=True)


class Finished(NamedTuple):
    """A finished training: the folder of its checkpoint, whose record and log may be those of another stage."""

    folder: Path
    record: Mapping[str, Any] | None = None  # in place of the folder's
    log: Path | None = None  # of stage 1, in place of the folder's

    def copy_to(self, folder: Path) -> None:
        """Write the weights with record and log as the stage does for a training of its own."""
        if self.record is None:
            shutil.copytree(self.folder, folder)
            return
        folder.mkdir(parents=True)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            shutil.copyfile(self.folder / name, folder / name)
        (folder / TRAINING_FILE).write_text(json.dumps(plain(self.record), indent=2) + "\n")
        if self.log is not None:
            shutil.copyfile(self.log, folder / LOG_FILE)


def take(folder: Path, entry: VariantConfig, variant: TrainingSettings, seed: int) -> Finished:
    """Return a training that was finished before, as a variant names it.

    Raises:
        CheckpointError: its networks or settings are not the variant's.
    """
    source = f"variants.trainings {entry.name}: {entry.checkpoints[seed]}"
    networks = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    require_same_networks(variant.tokenizer, parse_settings(TokenizerConfig, networks, source=source), source)
    variants.require_trained_by(variant, seed, records(folder), source)
    log = next((path for path in (folder / "stage_1" / LOG_FILE, folder / LOG_FILE) if path.is_file()), None)
    return Finished(folder, variants.variant_settings(variant, seed), log)


def records(folder: Path) -> dict[str, Any]:
    """Return what the stages of a finished training wrote of their settings, by stage.

    A release keeps the record of stage 1 in `stage_1/` and that of its base tokenizer in `base/`; this stage writes one
    record of both its stages.
    """
    files = [folder / part / TRAINING_FILE for part in ("", "stage_1", "base")]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files if path.is_file()]
    by_stage = {record["stage"]: record for record in found}
    if both := by_stage.pop("variants", None):
        by_stage |= {"distill": both, "finetune": {**both, "training": both["finetune"]}}
    return by_stage


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
