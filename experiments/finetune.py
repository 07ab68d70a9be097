"""Stage `finetune`: stage 2, train everything on pixels, perception and an adversary."""

import argparse
from collections.abc import Sequence

from alit.config import Profile, load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.models.losses import PerceptualDistance
from alit.paths import RunPaths, project_root
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import copy_checkpoint, resume_dir, save_stage
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation
from alit.training.finetune import FinetuneTrainingConfig, train_finetune


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/tokenizer/`; an interrupted run continues."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    config = profile.finetune
    if profile.init_from != "scratch":
        config = continued(profile)
        if config.optimization.steps == 0:
            return copy_checkpoint(paths.start / "tokenizer", paths.tokenizer)
    settings = {
        "stage": "finetune",
        "seed": profile.seed,
        "data": profile.data,
        "perceptual_trunk": profile.perceptual_trunk,
        "training": config,
    }
    train_set = next(images.name for images in profile.data.sets if images.role == "train")
    images = open_set(paths.data / train_set)
    inputs = [images.folder / "manifest.csv", paths.distilled / "model.safetensors"]
    scratch = resume_dir(paths.scratch, "finetune", settings, inputs)
    fabric = build_fabric(profile.device, profile.devices, config.optimization.precision)
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.distilled)
    train_finetune(
        tokenizer,
        config,
        images,
        _perceptual(profile.perceptual_trunk) if config.perceptual_weight > 0 else None,
        augmentation=Augmentation(profile.data.flip, profile.data.crop_scale),
        fabric=fabric,
        seed=profile.seed,
        scratch=scratch,
    )
    save_stage(fabric, paths.tokenizer, tokenizer.save_pretrained, settings, scratch)


def continued(profile: Profile) -> FinetuneTrainingConfig:
    """Return stage 2's settings on top of a trained checkpoint: shorter and gentler, all else alike."""
    optimization = profile.finetune.optimization.model_copy(update=profile.continued.model_dump())
    return profile.finetune.model_copy(update={"optimization": optimization})


def _perceptual(trunk: str) -> PerceptualDistance:
    from alit.tasks.perceptual import build_trunk

    return PerceptualDistance(build_trunk(trunk))


if __name__ == "__main__":
    run_command(main)
