"""Sweep tables with known answers: every effect that a claim is about is a knob of the generator."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from checkout import ROOT
from synthetic_measured import IMAGES, write_measured

from alit.analysis.grid import to_grid
from alit.analysis.study_data import AnalysisConfig, StudyData
from alit.config import load_profile
from alit.data.sources import FACTORS
from alit.paths import RunPaths

CONFIGS = ROOT / "configs"
LENGTHS = tuple(range(4, 33, 4))
SETTINGS = AnalysisConfig(
    resamples=200,
    confidence=0.95,
    l1_thresholds=(0.05, 0.08, 0.11, 0.14, 0.18),
    class_ranks=(1, 2, 3, 5),
    depth_thresholds=(0.1, 0.2, 0.3, 0.4, 0.6),
    perceptual_thresholds=(0.2, 0.3, 0.4, 0.5),
    caption_thresholds=(0.4, 0.6, 0.8, 0.9),
    classifiers=("weak", "strong"),
    depth_models=("coarse", "depth"),
    captioners=("terse", "wordy"),
    perceptual_model="net",
    feature_extractor="net",
    familiarity=("near", "far"),
)


class Effects(NamedTuple):
    """Sizes of the effects; the defaults make every claim of this file's ledger hold."""

    loss_rate: float = 3.0  # decay of the loss with tokens; 0 is none
    complexity: float = 1.0  # how much complexity raises the loss; 0 not at all, -1 lowers it
    class_rate: float = 6.0  # decay of classification errors with tokens; larger needs fewer
    depth_rate: float = 2.0  # the same for depth
    class_spread: float = 1.0  # how much images differ in the tokens that their class needs
    depth_spread: float = 1.0
    shared: float = 0.0  # share of these needs that follows complexity
    unfamiliar: float = 0.25  # how much each data set raises the loss over that of the one before
    fan: float = 0.0  # how much more complexity raises the loss at the shortest length than at the middle
    complexity_rate: float = 0.0  # how much slower the loss of complex images decays


DEFAULT_EFFECTS = Effects()


def synthetic_table(
    images: int = 300,
    datasets: tuple[str, ...] = ("val", "near"),
    effects: Effects = DEFAULT_EFFECTS,
    seed: int = 0,
    lengths: tuple[int, ...] = LENGTHS,
    columns: tuple[str, ...] = ("class", "depth", "complexity"),
) -> pd.DataFrame:
    """Return a sweep table in canonical order with rows of length 0; `columns` leaves out what a set may lack."""
    parts = []
    for number, dataset in enumerate(datasets):
        generator = np.random.default_rng([seed, number])
        complexity = generator.uniform(0, 100, images)
        harder = 1 + effects.unfamiliar * number
        parts.append(_one_set(generator, dataset, complexity, effects, lengths, harder))
    table = pd.concat(parts, ignore_index=True)
    if "complexity" not in columns:
        table["complexity"] = np.nan
    if "class" not in columns:
        table["label"] = pd.array([None] * len(table), dtype="Int64")
        table[["class_rank_weak", "class_rank_strong"]] = np.nan
    return table if "depth" in columns else table.drop(columns="depth_error_depth")


def synthetic_controlled(scenes: int = 8, effects: Effects = DEFAULT_EFFECTS, seed: int = 0) -> pd.DataFrame:
    """Return a sweep table of controlled scenes: a data set per factor, each scene at five levels, its complexity."""
    complexity = np.tile(np.linspace(0, 100, 5), scenes)
    parts = [
        _one_set(np.random.default_rng([seed, 9, number]), factor, complexity, effects, LENGTHS, 1.0)
        for number, factor in enumerate(FACTORS)
    ]
    return pd.concat(parts, ignore_index=True)


def _one_set(
    generator: np.random.Generator,
    dataset: str,
    complexity: np.ndarray,
    effects: Effects,
    lengths: tuple[int, ...],
    harder: float,
) -> pd.DataFrame:
    n = len(complexity)
    share = np.concatenate([[0.0], np.array(lengths) / lengths[-1]])  # 0 stands for the untouched image
    rate = effects.loss_rate * np.exp(-effects.complexity_rate * (complexity - 50) / 50)
    decay = 0.35 + 0.65 * np.exp(-rate[:, None] * share)
    opening = 1 + effects.fan * (1 - 2 * share)
    level = 0.12 + 0.0012 * effects.complexity * (complexity - 50)[:, None] * opening
    l1 = harder * level * decay * np.exp(0.05 * generator.normal(size=(n, len(share))))
    shared = effects.shared * (complexity - 50) / 29
    need_class = np.exp(effects.class_spread * (generator.normal(size=n) * (1 - effects.shared) + shared) - 0.5)
    need_depth = np.exp(effects.depth_spread * (generator.normal(size=n) * (1 - effects.shared) + shared) - 0.5)
    clearness = effects.class_rate * share / need_class[:, None]
    rank = np.floor(9 * np.exp(-clearness) * generator.uniform(0.75, 1.0, size=(n, len(share))) ** 2)
    depth = 0.05 + 0.6 * np.exp(-effects.depth_rate * share / need_depth[:, None])
    depth = depth * np.exp(0.03 * generator.normal(size=depth.shape))
    clean = share == 0
    values = {
        "l1": np.where(clean, 0.0, l1),
        "l2": np.where(clean, 0.0, l1**2 * 1.6),
        "psnr": np.where(clean, np.nan, -20 * np.log10(l1 * 1.3)),
        "ssim": np.where(clean, 1.0, 1 - 3 * l1),
        "perceptual_net": np.where(clean, 0.0, 4 * l1),
        "class_rank_weak": np.where(clean, np.floor(need_class)[:, None], rank + (need_class > 1.2)[:, None]),
        "class_rank_strong": np.where(clean, 0.0, rank),
        "depth_error_depth": np.where(clean, 0.0, depth),
        "bits": np.where(clean, np.nan, 8.0 * np.array([0, *lengths])),
    }
    rows = len(share)
    frame = {
        "dataset": dataset,
        "split": "val",
        "image_id": np.repeat([f"{dataset}-{i:05d}" for i in range(n)], rows),
        "label": pd.array(np.repeat(np.arange(n) % 10, rows), dtype="Int64"),
        "complexity": np.repeat(complexity, rows),
        "length": np.tile([0, *lengths], n),
    }
    return pd.DataFrame(frame | {name: np.broadcast_to(value, (n, rows)).ravel() for name, value in values.items()})


def synthetic_features(table: pd.DataFrame, size: int = 6, seed: int = 0, unlike: float = 0.6) -> np.ndarray:
    """Return row-aligned features (rows, size): those of the untouched image plus noise that grows with L1.

    Untouched images of a set lie `unlike` farther from those of the first set than those of the set before it.
    """
    generator = np.random.default_rng(seed)
    image = table.groupby(["dataset", "image_id"], sort=False).ngroup().to_numpy()
    base = generator.normal(size=(image.max() + 1, size))
    number = pd.Series(pd.factorize(table["dataset"])[0]).groupby(image).first().to_numpy()
    base += unlike * number[:, None]
    noise = generator.normal(size=(len(table), size)) + 0.7
    return (base[image] + 6 * table["l1"].to_numpy()[:, None] * noise).astype(np.float32)


def synthetic_study_data(
    table: pd.DataFrame,
    settings: AnalysisConfig = SETTINGS,
    *,
    features: bool = True,
    base_tokens: int = 64,
    controlled: pd.DataFrame | None = None,
    unlike: float = 0.6,
) -> StudyData:
    """Return the inputs of studies from a synthetic table; the first data set is the in-distribution one."""
    arrays = {"net": synthetic_features(table, unlike=unlike)} if features else {}
    grid = to_grid(table)
    scenes = None if controlled is None else to_grid(controlled)
    return StudyData(grid, grid.datasets[0], base_tokens, settings, 0, arrays, controlled_scenes=scenes)


def write_project(root: Path, profile: str = "smoke", table: pd.DataFrame | None = None) -> RunPaths:
    """Lay out a checkout below `root` in which `profile` has been swept, with a synthetic table for its result.

    Without a `table` of the caller's, the studies that measure tables of their own have been run too.
    """
    (root / "configs").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    shutil.copy(CONFIGS / f"{profile}.yaml", root / "configs")
    paths = RunPaths(root, profile)
    settings = load_profile(paths.config)
    analysis = settings.analysis
    sets = tuple(part.name for part in settings.data.sets if part.role == "evaluate" and not part.controlled)
    if table is None:
        table = pd.concat([synthetic_table(IMAGES, sets), synthetic_controlled()], ignore_index=True)
        write_measured(paths, sets)
    features = synthetic_features(table)
    renamed = {
        "class_rank_weak": f"class_rank_{analysis.classifiers[0]}",
        "class_rank_strong": f"class_rank_{analysis.classifiers[-1]}",
        "depth_error_depth": f"depth_error_{analysis.depth_models[-1]}",
        "perceptual_net": f"perceptual_{analysis.perceptual_model}",
    }
    paths.sweep.mkdir(parents=True)
    table.rename(columns=renamed).to_parquet(paths.table)
    (paths.sweep / "config.json").write_text(json.dumps({"tokenizer": {"base_tokens": 64}}))
    np.save(paths.sweep / f"features_{analysis.feature_extractor}.npy", features)
    return paths
