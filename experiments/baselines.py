"""Stage `baselines`: sweep other tokenizers, each exactly as the profile's own is."""

import argparse
import shutil
from collections.abc import Sequence
from functools import partial

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.sweep.engine import SweepJob, move_whole, sweep_many
from alit.tasks.registry import build_task_models
from alit.tokenizer.adapters import load_tokenizer
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/baselines/<name>/`: table.parquet, features_<extractor>.npy, config.json of each."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    device = build_fabric(profile.device, devices=1).device
    models = build_task_models(profile.task_models, paths.task_models, device)
    size = profile.data.image_size
    load = partial(load_tokenizer, folder=paths.run, image_size=size, device=device)
    scratch = paths.scratch / f"baselines-{paths.profile}"
    finished = sweep_many(
        {
            entry.name: SweepJob(partial(load, entry.target, entry.arguments), {"baseline": entry.model_dump()})
            for entry in profile.baselines.tokenizers
        },
        [open_set(paths.data / name) for name in profile.baselines.sets],
        models.tasks,
        models.extractors,
        config=profile.sweep,
        scratch=scratch,
        device=device,
    )
    move_whole(finished, paths.baselines)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run_command(main)
