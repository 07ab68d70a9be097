"""Stage `attention`: where latents look at each iteration, against segmentation masks and controls."""

import argparse
import shutil
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.studies.attention.measure import measure_attention
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/measured/attention/`, one file per table of docs/studies/attention.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    device = build_fabric(profile.device, devices=1).device
    tables = measure_attention(
        AdaptiveTokenizer.from_pretrained(paths.tokenizer).to(device).eval(),
        [open_set(paths.data / name) for name in profile.attention.sets],
        {images.name for images in profile.data.sets if images.source == "scenes"},
        profile.attention,
        profile.seed,
    )
    folder = paths.measured("attention")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, table in tables._asdict().items():
        table.to_parquet(folder / f"attention_{name}.parquet", index=False)


if __name__ == "__main__":
    run_command(main)
