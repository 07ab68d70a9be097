"""Stage `finetune`: stage 2, train everything on pixels, perception and an adversary."""

from collections.abc import Sequence
from pathlib import Path

from alit.errors import run_command
from alit.files import file_sha256
from alit.models.weights import WEIGHTS_FILE
from alit.tasks.perceptual import build_perceptual
from alit.tokenizer.origin import Origin, read_origin, write_origin
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import copy_checkpoint, resume_dir, save_stage
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.loader import Augmentation
from alit.training.finetune import FinetuneFromCheckpointConfig, FinetuneTrainingConfig, train_finetune
from experiments.network_stage import NetworkStage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/tokenizer/`; an interrupted run continues."""
    stage = NetworkStage(argv, main.__doc__)
    paths = stage.paths
    init_from = stage.read("init_from", str)
    if init_from != "scratch":
        further = stage.read("finetune_from_checkpoint", FinetuneFromCheckpointConfig | None)
        if further is None or further.steps == 0:
            return copy_checkpoint(paths.pretrained / "tokenizer", paths.tokenizer)
    config = stage.read("finetune", FinetuneTrainingConfig)
    if init_from != "scratch":
        config = after_checkpoint(config, further)
    seed, data, trunk = stage.read("seed", int), stage.data_config, stage.read("perceptual_trunk", str)
    settings = {"stage": "finetune", "seed": seed, "data": data, "perceptual_trunk": trunk, "training": config}
    images = stage.train_set
    inputs = [images.folder / "manifest.csv", paths.distilled / WEIGHTS_FILE]
    scratch = resume_dir(paths.scratch, "finetune", settings, inputs)
    execution = stage.read("execution", ExecutionConfig)
    fabric = stage.fabric(config.optimization.precision, tf32=execution.tf32)
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.distilled)
    train_finetune(
        tokenizer,
        config,
        images,
        build_perceptual(trunk) if config.perceptual_weight > 0 else None,
        augmentation=Augmentation.of(data),
        fabric=fabric,
        seed=seed,
        scratch=scratch,
        execution=execution,
    )
    origin = read_origin(paths.distilled) if init_from != "scratch" else None

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        write_origin(folder, _origin(paths.profile, origin, config.optimization.steps, folder))

    save_stage(fabric, paths.tokenizer, write, settings, scratch)


def _origin(profile: str, before: Origin | None, steps: int, folder: Path) -> Origin:
    """Return where the weights in `folder` come from: this pipeline alone, or stage 2 on top of a checkpoint."""
    digest = file_sha256(folder / WEIGHTS_FILE)
    if before is None:
        return Origin(checkpoint=f"profile {profile}", sha256=digest, trained=f"from scratch by profile {profile}")
    trained = f"{before.trained or 'not known here'}; then {steps} steps of stage 2 by profile {profile}"
    return before.model_copy(update={"sha256": digest, "trained": trained})


def after_checkpoint(config: FinetuneTrainingConfig, change: FinetuneFromCheckpointConfig) -> FinetuneTrainingConfig:
    """Return stage 2's settings on top of a trained checkpoint: shorter and gentler, all else alike."""
    return config.model_copy(update={"optimization": config.optimization.model_copy(update=change.model_dump())})


if __name__ == "__main__":
    run_command(main)
