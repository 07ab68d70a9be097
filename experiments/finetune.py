"""Stage `finetune`: stage 2, train everything on pixels, perception and an adversary."""

from collections.abc import Sequence

from alit.errors import run_command
from alit.models.weights import WEIGHTS_FILE
from alit.tasks.perceptual import build_perceptual
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import copy_checkpoint, resume_dir, save_stage
from alit.training.engine.loader import Augmentation
from alit.training.finetune import FinetuneFromCheckpointConfig, FinetuneTrainingConfig, train_finetune
from experiments.network_stage import NetworkStage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/tokenizer/`; an interrupted run continues."""
    stage = NetworkStage(argv, main.__doc__)
    paths = stage.paths
    config = stage.read("finetune", FinetuneTrainingConfig)
    if stage.read("init_from", str) != "scratch":
        config = after_checkpoint(config, stage.read("finetune_from_checkpoint", FinetuneFromCheckpointConfig))
        if config.optimization.steps == 0:
            return copy_checkpoint(paths.pretrained / "tokenizer", paths.tokenizer)
    seed, data, trunk = stage.read("seed", int), stage.data_config, stage.read("perceptual_trunk", str)
    settings = {"stage": "finetune", "seed": seed, "data": data, "perceptual_trunk": trunk, "training": config}
    images = stage.train_set
    inputs = [images.folder / "manifest.csv", paths.distilled / WEIGHTS_FILE]
    scratch = resume_dir(paths.scratch, "finetune", settings, inputs)
    fabric = stage.fabric(config.optimization.precision)
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.distilled)
    train_finetune(
        tokenizer,
        config,
        images,
        build_perceptual(trunk) if config.perceptual_weight > 0 else None,
        augmentation=Augmentation(data.flip, data.crop_scale),
        fabric=fabric,
        seed=seed,
        scratch=scratch,
    )
    save_stage(fabric, paths.tokenizer, tokenizer.save_pretrained, settings, scratch)


def after_checkpoint(config: FinetuneTrainingConfig, change: FinetuneFromCheckpointConfig) -> FinetuneTrainingConfig:
    """Return stage 2's settings on top of a trained checkpoint: shorter and gentler, all else alike."""
    return config.model_copy(update={"optimization": config.optimization.model_copy(update=change.model_dump())})


if __name__ == "__main__":
    run_command(main)
