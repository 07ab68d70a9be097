"""Stage `base`: train the 2D tokenizer that the recurrent distillation starts from."""

import argparse
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.models.losses import PerceptualDistance
from alit.models.weights import save_network
from alit.paths import RunPaths, project_root
from alit.training.base import train_base
from alit.training.engine.checkpoint import copy_checkpoint, resume_dir, save_stage
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/base/`; an interrupted run continues."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    if profile.init_from != "scratch":
        return copy_checkpoint(paths.start / "base", paths.base)
    config, architecture = profile.base_training, profile.tokenizer.base
    settings = {
        "stage": "base",
        "seed": profile.seed,
        "data": profile.data,
        "base": architecture,
        "perceptual_trunk": profile.perceptual_trunk,
        "training": config,
    }
    train_set = next(images.name for images in profile.data.sets if images.role == "train")
    images = open_set(paths.data / train_set)
    scratch = resume_dir(paths.scratch, "base", settings, [images.folder / "manifest.csv"])
    fabric = build_fabric(profile.device, profile.devices, config.optimization.precision)
    base = train_base(
        architecture,
        config,
        images,
        _perceptual(profile.perceptual_trunk) if config.perceptual_weight > 0 else None,
        augmentation=Augmentation(profile.data.flip, profile.data.crop_scale),
        fabric=fabric,
        seed=profile.seed,
        scratch=scratch,
    )
    save_stage(fabric, paths.base, lambda folder: save_network(base, architecture, folder), settings, scratch)


def _perceptual(trunk: str) -> PerceptualDistance:
    from alit.tasks.perceptual import build_trunk

    return PerceptualDistance(build_trunk(trunk))


if __name__ == "__main__":
    run_command(main)
