"""What the studies and the claims are computed from: the folded sweep table, features, and the settings to ask with."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from alit.analysis.curves import Resampling
from alit.analysis.grid import ScoreGrid, fold
from alit.analysis.selection import Criterion, criterion_on
from alit.data.sources.source import FACTORS
from alit.errors import DataError
from alit.paths import RunPaths, project_root
from alit.settings import Settings, read_section, read_yaml


class AnalysisConfig(Settings):
    """What the studies and the claims ledger ask of the table."""

    resamples: PositiveInt  # bootstrap resamples over images
    confidence: float = Field(gt=0, lt=1)
    l1_thresholds: tuple[float, ...]
    class_ranks: tuple[int, ...]  # top-X criteria
    depth_thresholds: tuple[float, ...]
    perceptual_thresholds: tuple[float, ...]
    caption_thresholds: tuple[float, ...]  # least token F1
    # Task models from weak to strong, the last is the model of record; empty where a profile has none.
    classifiers: tuple[str, ...] = Field(min_length=1)
    depth_models: tuple[str, ...]
    captioners: tuple[str, ...]
    perceptual_model: str
    feature_extractor: str
    familiarity: tuple[str, ...]  # sets ever less like the training images; the first is the next after in-distribution


class Evidence(NamedTuple):
    """The inputs of an analysis."""

    grid: ScoreGrid
    dataset: str  # the in-distribution set: the profile's first with role evaluate
    base_tokens: int  # image tokens of the base tokenizer; capacities are a share of them
    settings: AnalysisConfig
    seed: int
    features: Mapping[str, np.ndarray]  # extractor -> (table rows, f)
    tables: Mapping[str, pd.DataFrame] = MappingProxyType({})  # name -> a table that a study measured beside the sweep
    controlled: ScoreGrid | None = None  # scenes in which one factor of complexity varies; they are not in `grid`
    checks: ScoreGrid | None = None  # sets that only say how far depth networks may be trusted; not in `grid` either
    record: Mapping[str, Any] = MappingProxyType({})  # what the numbers are made with: the sweep's config.json

    @property
    def how(self) -> Resampling:
        """How intervals are made."""
        return Resampling(self.settings.resamples, self.settings.confidence, self.seed)

    @property
    def rank_column(self) -> str:
        """Class rank of the classifier of record (the paper's ResNet-18)."""
        return f"class_rank_{self.settings.classifiers[-1]}"

    @property
    def accuracy_column(self) -> str:
        """Top-1 accuracy of the classifier of record."""
        return f"top1_{self.settings.classifiers[-1]}"

    @property
    def depth_column(self) -> str | None:
        """Depth error of the depth model of record (the paper's Depth Anything V2), where the profile has one."""
        return f"depth_error_{self.settings.depth_models[-1]}" if self.settings.depth_models else None

    @property
    def caption_column(self) -> str | None:
        """Caption score of the captioner of record (the paper's BLIP), where the profile has one."""
        return f"caption_score_{self.settings.captioners[-1]}" if self.settings.captioners else None

    @property
    def perceptual_column(self) -> str:
        """Perceptual distance of record."""
        return f"perceptual_{self.settings.perceptual_model}"

    def measured(self, *columns: str | None) -> tuple[str, ...]:
        """Those of the columns that hold values on the in-distribution set."""
        here = self.grid.dataset(self.dataset)
        return tuple(name for name in columns if name is not None and name in here.columns(name))

    def task_grid(self) -> ScoreGrid:
        """The in-distribution images that every criterion of record can score, so that curves share their images."""
        return self.grid.dataset(self.dataset).complete([*self.criterion_columns(), *self.task_columns()])

    def criterion_columns(self) -> tuple[str, ...]:
        """Scores of record that tokens can be selected by, those that are measured."""
        return self.measured("l1", self.rank_column, self.depth_column, self.perceptual_column, self.caption_column)

    def task_columns(self) -> tuple[str, ...]:
        """Tasks of record with a score for each image, those that are measured; the Fréchet distance has none."""
        return self.measured(self.accuracy_column, self.depth_column, self.perceptual_column, self.caption_column)

    def criteria(self) -> tuple[tuple[Criterion, tuple[float, ...]], ...]:
        """The selection criteria that can be measured here, each with the profile's thresholds."""
        known = {
            "l1": self.settings.l1_thresholds,
            self.rank_column: tuple(map(float, self.settings.class_ranks)),
            self.depth_column: self.settings.depth_thresholds,
            self.perceptual_column: self.settings.perceptual_thresholds,
            self.caption_column: self.settings.caption_thresholds,
        }
        return tuple((criterion_on(name), known[name]) for name in self.criterion_columns() if known[name])


class Study(NamedTuple):
    """One study of one profile: its evidence and the folder of its figures."""

    evidence: Evidence
    figures: Path


def open_study(name: str, profile: str, root: str = "", figures: str = "", tokenizer: str = "") -> Study:
    """Open a study from any working directory.

    Args:
        name: the study's folder below `reports/<profile>/`.
        profile: which of `configs/`.
        root: the checkout; empty finds it above the working directory, else above the package.
        figures: where the study's figures go; empty means `reports/<profile>/<name>/figures`.
        tokenizer: a baseline of the profile to ask instead of its own tokenizer.
    """
    paths = RunPaths(project_root(Path(root) if root else None), profile, tokenizer)
    folder = Path(figures) if figures else paths.report / name / "figures"
    return Study(load_evidence(paths), folder)


def load_sweeps(profile: str, root: str = "") -> dict[str, ScoreGrid]:
    """Read the sweep of a profile's own tokenizer ("own") and those of its baselines, by name.

    Args:
        profile: which of `configs/`.
        root: as in `open_study`.
    """
    paths = RunPaths(project_root(Path(root) if root else None), profile)
    tables = {
        "own": paths.table,
        **{path.parent.name: path for path in sorted(paths.baselines.glob("*/table.parquet"))},
    }
    return {name: fold(pd.read_parquet(path)) for name, path in tables.items()}


def load_evidence(paths: RunPaths) -> Evidence:
    """Read a profile's sweep table and features.

    Raises:
        DataError: the table is missing, empty or incomplete, or the features do not match its rows.
        ConfigError: the profile is not valid.
    """
    settings = read_section(paths.config, "analysis", AnalysisConfig)
    seed = read_section(paths.config, "seed", int)
    if not paths.table.is_file():
        raise DataError(f"expected the sweep table {paths.table}, found none; run dvc repro")
    table = pd.read_parquet(paths.table)
    names, controlled, checks = _roles(paths.config)
    whole = fold(table).arranged([*names, *controlled, *checks])
    aside = whole.images["dataset"].isin([*controlled, *checks]).to_numpy(dtype=bool)
    grid = whole.subset(~aside) if aside.any() else whole
    sets = [name for name in names if name in grid.datasets]
    if not sets:
        raise DataError(f"expected a data set of {paths.config} in the sweep table, found {', '.join(grid.datasets)}")
    features = {}
    for path in sorted(paths.sweep.glob("features_*.npy")):
        features[path.stem.removeprefix("features_")] = array = np.load(path, mmap_mode="r")
        if len(array) != len(table):
            raise DataError(f"expected {len(table)} rows in {path}, found {len(array)}; run the sweep stage again")
    # The tokenizer that was swept says what its tokens are a share of; it need not be the profile's own.
    record = json.loads((paths.sweep / "config.json").read_text(encoding="utf-8"))
    base_tokens = int(record["tokenizer"]["base_tokens"])
    tables = {path.stem: pd.read_parquet(path) for path in sorted(paths.measured("").glob("*/*.parquet"))}
    return Evidence(
        grid=grid,
        dataset=sets[0],
        base_tokens=base_tokens,
        settings=settings,
        seed=seed,
        features=features,
        tables=tables,
        controlled=_only(whole, controlled),
        checks=_only(whole, checks),
        record=record,
    )


def _roles(config: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the swept sets in the profile's order: sampled, of controlled complexity, depth checks."""
    swept = [part for part in read_yaml(config)["data"]["sets"] if part["role"] in ("evaluate", "check")]
    checks = [part["name"] for part in swept if part["role"] == "check"]
    controlled = [part["name"] for part in swept if part["source"] == "scenes" and part["variant"] in FACTORS]
    sampled = [part["name"] for part in swept if part["name"] not in (*checks, *controlled)]
    return sampled, controlled, checks


def _only(whole: ScoreGrid, datasets: list[str]) -> ScoreGrid | None:
    """Return the images of some data sets, or None where there are none."""
    chosen = whole.images["dataset"].isin(datasets).to_numpy(dtype=bool)
    return whole.subset(chosen) if chosen.any() else None
