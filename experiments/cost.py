"""Stage `cost`: time encoding and decoding of the profile's tokenizer and its baselines, and count operations."""

import argparse
from collections.abc import Sequence
from functools import partial

import torch

from alit.config import load_profile
from alit.data.imageset import Subset, open_set
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.studies.cost.measure import measure_cost
from alit.tokenizer.adapters import load_tokenizer
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/measured/cost/`: cost_counts.parquet and cost_times.parquet; times differ between runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    torch.set_num_threads(profile.cost.threads)
    device = build_fabric(profile.device, devices=1).device
    load = partial(load_tokenizer, folder=paths.run, image_size=profile.data.image_size, device=device)
    tokenizers = {"own": load("tokenizer", {})}
    tokenizers |= {entry.name: load(entry.target, entry.arguments) for entry in profile.baselines.tokenizers}
    dataset = next(part.name for part in profile.data.sets if part.role == "evaluate")
    images = Subset(open_set(paths.data / dataset), profile.cost.images)
    measured = measure_cost(tokenizers, images.images(range(len(images))).to(device))
    where = {"device": str(device.type), "threads": torch.get_num_threads()}
    out = paths.measured("cost")
    out.mkdir(parents=True, exist_ok=True)
    measured.counts.assign(**where).to_parquet(out / "cost_counts.parquet", index=False)
    measured.times.assign(**where).to_parquet(out / "cost_times.parquet", index=False)


if __name__ == "__main__":
    run_command(main)
