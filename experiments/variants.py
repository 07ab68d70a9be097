"""Stage `variants`: train every variant of the profile that the ablations compare, once per seed."""

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lightning_fabric import Fabric

from alit.config import load_profile
from alit.data.imageset import ImageSet, Subset, open_set
from alit.errors import run_command
from alit.models.weights import load_base, save_network
from alit.paths import RunPaths, project_root
from alit.tasks.perceptual import build_perceptual
from alit.training import variants
from alit.training.engine.checkpoint import resume_dir, save_stage
from alit.training.engine.fabric import build_fabric


class Workplace(NamedTuple):
    """Where trainings run, and where the finished ones wait until all are."""

    images: ImageSet
    fabric: Fabric
    scratch: Path


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/variants/<name>/<seed>/`; finished trainings stay, an interrupted one continues."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    images = open_set(paths.data / next(part.name for part in profile.data.sets if part.role == "train"))
    inputs = [images.folder / "manifest.csv", paths.base / "model.safetensors"]
    scratch = resume_dir(paths.scratch, "variants", {"seed": profile.seed}, inputs)
    precision = profile.distill.optimization.precision
    place = Workplace(images, build_fabric(profile.device, profile.devices, precision), scratch)
    finished: dict[str, Path] = {}
    for each in profile.variants.trainings:
        variant = variants.vary_training(profile, profile.variants, each.name)
        base = paths.base if variants.shares_base(variant, profile) else _own_base(variant, place)
        for seed in each.seeds:
            done = variants.is_stage_1(variant, profile, seed)  # by the stage before
            finished[f"{each.name}/{seed}"] = paths.distilled if done else _train(each.name, variant, seed, base, place)
    if place.fabric.is_global_zero:
        shutil.rmtree(paths.variants, ignore_errors=True)
        for name, folder in finished.items():
            shutil.copytree(folder, paths.variants / name)
        shutil.rmtree(scratch, ignore_errors=True)


def _own_base(variant: variants.TrainingSettings, place: Workplace) -> Path:
    settings = variants.base_settings(variant)
    folder = resume_dir(place.scratch, "base", settings, [])
    training, finished = folder / "training", folder / "finished"
    if not finished.is_dir():
        base = variants.train_variant_base(variant, place.images, build_perceptual, place.fabric, training)
        save_stage(place.fabric, finished, partial(save_network, base, variant.tokenizer.base), settings, training)
    return finished


def _train(name: str, variant: variants.TrainingSettings, seed: int, base: Path, place: Workplace) -> Path:
    images = Subset(place.images, next(part.images for part in variant.data.sets if part.role == "train"))
    settings = variants.variant_settings(variant, seed)
    folder = resume_dir(place.scratch, f"{name}_{seed}", settings, [base / "model.safetensors"])
    tokens = place.scratch / f"base_tokens_{base.parent.name}_{len(images)}"
    if not (folder / "finished").is_dir():
        print(f"variant {name}, seed {seed}", flush=True)
        given = load_base(base), images, build_perceptual, seed
        tokenizer = variants.train_variant(variant, *given, fabric=place.fabric, scratch=folder, base_tokens=tokens)
        save_stage(place.fabric, folder / "finished", tokenizer.save_pretrained, settings, folder / "distill")
    return folder / "finished"


if __name__ == "__main__":
    run_command(main)
