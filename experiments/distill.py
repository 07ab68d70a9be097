"""Stage `distill`: stage 1, distill image tokens into progressively more latent tokens, base tokenizer frozen."""

import argparse
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.models.weights import load_base
from alit.paths import RunPaths, project_root
from alit.training.distill import train_distillation
from alit.training.engine.checkpoint import copy_checkpoint, resume_dir, save_stage
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/distilled/`; an interrupted run continues."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    if profile.init_from != "scratch":
        return copy_checkpoint(paths.start / "distilled", paths.distilled)
    settings = {
        "stage": "distill",
        "seed": profile.seed,
        "data": profile.data,
        "tokenizer": profile.tokenizer,
        "training": profile.distill,
    }
    train_set = next(images.name for images in profile.data.sets if images.role == "train")
    images = open_set(paths.data / train_set)
    inputs = [images.folder / "manifest.csv", paths.base / "model.safetensors"]
    scratch = resume_dir(paths.scratch, "distill", settings, inputs)
    fabric = build_fabric(profile.device, profile.devices, profile.distill.optimization.precision)
    tokenizer = train_distillation(
        profile.tokenizer,
        profile.distill,
        load_base(paths.base),
        images,
        augmentation=Augmentation(profile.data.flip, profile.data.crop_scale),
        fabric=fabric,
        seed=profile.seed,
        scratch=scratch,
    )
    save_stage(fabric, paths.distilled, tokenizer.save_pretrained, settings, scratch)


if __name__ == "__main__":
    run_command(main)
