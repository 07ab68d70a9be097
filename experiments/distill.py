"""Stage `distill`: stage 1, distill image tokens into progressively more latent tokens, base tokenizer frozen."""

import shutil
from collections.abc import Sequence

from alit.errors import run_command
from alit.models.distillation import TokenizerConfig
from alit.models.loading import load_base
from alit.models.weights import WEIGHTS_FILE
from alit.training.distill import DistillTrainingConfig, train_distillation
from alit.training.engine.checkpoint import TRAINING_FILE, copy_checkpoint, resume_dir, save_stage
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.loader import Augmentation
from alit.training.engine.loop import LOG_FILE
from experiments.network_stage import NetworkStage


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/distilled/`; an interrupted run continues."""
    stage = NetworkStage(argv, main.__doc__)
    paths = stage.paths
    if stage.read("init_from", str) != "scratch":
        copy_checkpoint(paths.pretrained / "tokenizer", paths.distilled)
        for log in (TRAINING_FILE, LOG_FILE):  # stage 1's own, where the checkpoint brings them
            (paths.distilled / log).unlink(missing_ok=True)
        shutil.copytree(paths.pretrained / "distilled", paths.distilled, dirs_exist_ok=True)
        return
    seed, data = stage.read("seed", int), stage.data_config
    architecture, config = stage.read("tokenizer", TokenizerConfig), stage.read("distill", DistillTrainingConfig)
    settings = {"stage": "distill", "seed": seed, "data": data, "tokenizer": architecture, "training": config}
    images = stage.train_set
    inputs = [images.folder / "manifest.csv", paths.base / WEIGHTS_FILE]
    scratch = resume_dir(paths.scratch, "distill", settings, inputs)
    execution = stage.read("execution", ExecutionConfig)
    fabric = stage.fabric(config.optimization.precision, tf32=execution.tf32)
    tokenizer = train_distillation(
        architecture,
        config,
        load_base(paths.base),
        images,
        augmentation=Augmentation.of(data),
        fabric=fabric,
        seed=seed,
        scratch=scratch,
        execution=execution,
    )
    save_stage(fabric, paths.distilled, tokenizer.save_pretrained, settings, scratch)


if __name__ == "__main__":
    run_command(main)
