"""Stage `probe`: what a linear classifier makes of the frozen tokenizer's features, by iteration and tokens."""

import argparse
import shutil
from collections.abc import Sequence

from alit.config import load_profile
from alit.data.imageset import open_set
from alit.errors import run_command
from alit.models.weights import WEIGHTS_FILE
from alit.paths import RunPaths, project_root
from alit.studies.probe.measure import measure_probes
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import resume_dir
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/measured/probe/`, one file per table of docs/studies/probe.md; continues a killed run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    train, test = (
        open_set(paths.data / next(images.name for images in profile.data.sets if images.role == role))
        for role in ("train", "evaluate")
    )
    scratch = resume_dir(
        paths.scratch,
        "probe",
        {"train_images": profile.probe.train_images},
        [train.folder / "manifest.csv", test.folder / "manifest.csv", paths.tokenizer / WEIGHTS_FILE],
    )
    tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer)
    tables = measure_probes(
        tokenizer.to(build_fabric(profile.device, devices=1).device).eval(),
        train,
        test,
        profile.probe,
        profile.seed,
        scratch,
    )
    folder = paths.measured("probe")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, table in tables._asdict().items():
        table.to_parquet(folder / f"probe_{name}.parquet", index=False)
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    run_command(main)
