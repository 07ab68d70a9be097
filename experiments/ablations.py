"""Stage `ablations`: measure every trained variant on the same images, and count what it costs."""

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from alit.analysis.grid import to_grid
from alit.config import load_profile
from alit.data.imageset import Subset, open_set
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.studies.ablations.measure import read_stage_1, variant_costs
from alit.studies.ablations.tables import image_rates, reference_rows
from alit.sweep.engine import SweepJob, sweep_many
from alit.sweep.store import TABLE_FILE, features_file
from alit.tasks.reconstruction import ReconstructionTask
from alit.tasks.registry import build_task_models
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/measured/ablations/ablation_{variants,costs,comparisons,references}.parquet`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    paths = RunPaths(project_root(), parser.parse_args(argv).profile)
    profile = load_profile(paths.config)
    device = build_fabric(profile.device, devices=1).device
    extractor = profile.analysis.feature_extractor
    dataset = next(part.name for part in profile.data.sets if part.role == "evaluate")
    images = Subset(open_set(paths.data / dataset), profile.ablations.images)
    trained = [(entry.name, seed) for entry in profile.variants.trainings for seed in entry.seeds]

    def load(name: str, seed: int) -> AdaptiveTokenizer:
        return AdaptiveTokenizer.from_pretrained(paths.variants / name / str(seed)).to(device).eval()

    models = build_task_models(profile.task_models, paths.task_models, device)
    scratch = paths.scratch / f"ablations-{paths.profile}"
    sweeps = sweep_many(
        {f"{name}-{seed}": SweepJob(partial(load, name, seed), {}) for name, seed in trained},
        [images],
        [ReconstructionTask()],
        [each for each in models.extractors if each.name == extractor],
        config=profile.sweep,
        scratch=scratch,
        device=device,
    )
    rates, costs = [], []
    for name, seed in trained:
        labels = {"variant": name, "seed": seed}
        rates.append(_rates(sweeps / f"{name}-{seed}", dataset, extractor).assign(**labels))
        stage_1 = read_stage_1(paths.variants / name / str(seed))
        costs.append(variant_costs(load(name, seed), stage_1, images.images([0]).to(device), seed).assign(**labels))
    others = {"own": paths.sweep} | {entry.name: paths.baselines / entry.name for entry in profile.baselines.tokenizers}
    references = pd.concat(
        reference_rows(pd.read_parquet(folder / TABLE_FILE), dataset).assign(tokenizer=name)
        for name, folder in others.items()
    )
    tables = {"variants": pd.concat(rates), "costs": pd.concat(costs), "references": references}
    asked = [each.model_dump() for each in profile.ablations.comparisons]
    tables["comparisons"] = pd.DataFrame(asked, columns=["factor", "variant", "than"])
    (out := paths.measured("ablations")).mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(out / f"ablation_{name}.parquet", index=False)
    shutil.rmtree(scratch)


def _rates(sweep: Path, dataset: str, extractor: str) -> pd.DataFrame:
    grid = to_grid(pd.read_parquet(sweep / TABLE_FILE)).dataset(dataset)
    return image_rates(grid, np.load(sweep / features_file(extractor), mmap_mode="r"))


if __name__ == "__main__":
    run_command(main)
