"""Stage `codebook`: the token ids of every evaluation image at every iteration, and what is alike in them."""

import argparse
import shutil
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.studies.codebook.measure import measure_codebook
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/measured/codebook/`, one file per table of docs/studies/codebook.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    device = build_fabric(profile.device, devices=1).device
    sets = [images for images in profile.data.sets if images.role == "evaluate" and not images.controlled]
    tables = measure_codebook(
        AdaptiveTokenizer.from_pretrained(paths.tokenizer).to(device).eval(),
        [open_set(paths.data / images.name) for images in sets],
        [images.name for images in sets if images.source == "scenes"],  # others are not ours to show
        profile.codebook,
    )
    folder = paths.measured("codebook")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, table in tables._asdict().items():
        table.to_parquet(folder / f"codebook_{name}.parquet", index=False)


if __name__ == "__main__":
    run_command(main)
