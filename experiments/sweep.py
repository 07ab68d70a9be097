"""Stage `sweep`: measure every evaluation image at every length with every task, once."""

import argparse
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.sweep.engine import sweep
from alit.tasks.registry import build_task_models
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/sweep/`: table.parquet, features_<extractor>.npy, config.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    device = build_fabric(profile.device, devices=1).device
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer).to(device).eval()
    models = build_task_models(profile.task_models, paths.task_models, device)
    sweep(
        tokenizer,
        [open_set(paths.data / images.name) for images in profile.data.sets if images.swept],
        models.tasks,
        models.extractors,
        config=profile.sweep,
        scratch=paths.scratch,
        out=paths.sweep,
        device=device,
        settings={"profile": paths.profile, "tokenizer_settings": tokenizer.config.model_dump(mode="json")},
    )


if __name__ == "__main__":
    run_command(main)
