"""Stage `base`: train, or take as published, the 2D tokenizer that the recurrent distillation starts from."""

from collections.abc import Sequence
from functools import partial

from alit.errors import run_command
from alit.models.distillation import TokenizerConfig
from alit.models.loading import save_base
from alit.tasks.perceptual import build_perceptual
from alit.training.base import BaseTrainingConfig, published_base, train_base
from alit.training.engine.checkpoint import copy_checkpoint, resume_dir, save_stage
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.loader import Augmentation
from experiments.network_stage import NetworkStage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/base/`; an interrupted run continues.

    Published weights (`tokenizer.base.pretrained`) are named there and not copied; section base_training says nothing.
    """
    stage = NetworkStage(argv, main.__doc__)
    paths = stage.paths
    if stage.read("init_from", str) != "scratch":
        return copy_checkpoint(paths.pretrained / "base", paths.base)
    seed, data = stage.read("seed", int), stage.data_config
    config = stage.read("base_training", BaseTrainingConfig)
    architecture = stage.read("tokenizer", TokenizerConfig).base
    trunk = stage.read("perceptual_trunk", str)
    settings = {
        "stage": "base",
        "seed": seed,
        "data": data,
        "base": architecture,
        "perceptual_trunk": trunk,
        "training": config,
    }
    images = stage.train_set
    scratch = resume_dir(paths.scratch, "base", settings, [images.folder / "manifest.csv"])
    execution = stage.read("execution", ExecutionConfig)
    fabric = stage.fabric(config.optimization.precision, tf32=execution.tf32)
    if architecture.pretrained is not None:
        base = published_base(architecture, images, fabric)
        origin = {"stage": "base", "seed": seed, "data": data, "base": base.config}
        return save_stage(fabric, paths.base, partial(save_base, base), origin, scratch)
    base = train_base(
        architecture,
        config,
        images,
        build_perceptual(trunk) if config.perceptual_weight > 0 else None,
        augmentation=Augmentation.of(data),
        fabric=fabric,
        seed=seed,
        scratch=scratch,
        execution=execution,
    )
    save_stage(fabric, paths.base, partial(save_base, base), settings, scratch)


if __name__ == "__main__":
    run_command(main)
