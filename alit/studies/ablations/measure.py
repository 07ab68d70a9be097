"""What each trained variant reaches on the same images, and what it costs: encoding, decoding, and its training."""

import shutil
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor

from alit.analysis.distances import FeatureDistances
from alit.analysis.grid import MIN_IMAGES, SweepGrid, to_grid
from alit.data.imageset import Subset
from alit.errors import ConfigError
from alit.files import read_json
from alit.settings import Settings, parse_settings
from alit.sweep.engine import SweepConfig, SweepJob, sweep_many
from alit.sweep.store import TABLE_FILE, features_file
from alit.tasks.perceptual import ReconstructionTask
from alit.tasks.protocol import FeatureExtractor
from alit.tokenizer.cost import DECODE, ENCODE, GIGA, count_flop, gigaflop, operations
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.distill import DistillObjective, DistillTrainingConfig, supervised_at
from alit.training.engine.checkpoint import TRAINING_FILE
from alit.training.engine.loader import encode_frozen

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

VariedFactor = Literal[
    "continuous", "width", "depth", "steps", "data", "stage 2", "halting", "curriculum", "recurrence", "fixed length"
]


class ComparisonConfig(Settings):
    """Two variants that differ in one respect."""

    factor: VariedFactor  # the respect; claims select comparisons by it
    variant: str  # the one that the paper expects to be better
    than: str


class AblationsConfig(Settings):
    """How variants are compared."""

    comparisons: tuple[ComparisonConfig, ...]
    images: PositiveInt  # of the first evaluation set, at most


def compare_variants(
    trained: Mapping[tuple[str, int], Path],
    references: Mapping[str, Path],
    images: Subset,
    extractor: FeatureExtractor | None,
    config: AblationsConfig,
    *,
    feature_name: str,
    sweep: SweepConfig,
    scratch: Path,
    fabric: "Fabric",
) -> dict[str, pd.DataFrame]:
    """Sweep every variant over the same images, and count what it costs.

    Args:
        trained: (variant, seed) -> the folder of its checkpoint.
        references: name -> the folder of a sweep to compare with.
        images: to measure on.
        extractor: of the features of the Fréchet distance, on the device of `fabric`; needed with variants.
        config: which variants are compared.
        feature_name: of the extractor whose features the sweeps of the references kept, if they did.
        sweep: chunk and batch sizes.
        scratch: where finished sweeps stay until all are; removed at the end.
        fabric: the processes that share the sweeps.

    Returns:
        The tables variants, costs, references and comparisons; see `alit.studies.ablations.tables`. Without a trained
        variant, the first two are not there. With variants, no table in processes other than the first.

    Raises:
        ConfigError: variants were trained, and there is no extractor.
    """
    comparisons = [comparison.model_dump() for comparison in config.comparisons]
    tables = {"comparisons": pd.DataFrame(comparisons, columns=["factor", "variant", "than"])}
    if references:
        found = (read_reference(each, images.name, feature_name) for each in references.values())
        named = [rows.assign(tokenizer=name) for name, rows in zip(references, found, strict=True)]
        tables["references"] = pd.concat(named)
    if not trained:
        return tables
    if extractor is None:
        raise ConfigError("expected analysis.feature_extractor to name a task model that variants are compared by")

    def load(folder: Path) -> AdaptiveTokenizer:
        return AdaptiveTokenizer.from_pretrained(folder).to(fabric.device).eval()

    sweeps = sweep_many(
        {f"{name}-{seed}": SweepJob(partial(load, folder), {}) for (name, seed), folder in trained.items()},
        [images],
        [ReconstructionTask()],
        [extractor],
        config=sweep,
        scratch=scratch,
        fabric=fabric,
    )
    if not fabric.is_global_zero:
        return {}
    rates, costs = [], []
    for (name, seed), folder in trained.items():
        labels = {"variant": name, "seed": seed}
        swept = sweeps / f"{name}-{seed}"
        features = np.load(swept / features_file(extractor.name), mmap_mode="r")
        grid = to_grid(pd.read_parquet(swept / TABLE_FILE)).dataset(images.name)
        rates.append(image_rates(grid, features).assign(**labels))
        image = images.images([0]).to(fabric.device)
        costs.append(variant_costs(load(folder), read_stage_1(folder), image, seed).assign(**labels))
    shutil.rmtree(scratch)
    return {"variants": pd.concat(rates), "costs": pd.concat(costs), **tables}


def image_rates(grid: SweepGrid, features: np.ndarray) -> pd.DataFrame:
    """Return one row per image and length of a sweep: image_id, length, bits, l1, frechet.

    Args:
        grid: the images of one data set, untouched ones included.
        features: (table rows, f) of the reference extractor, row-aligned with the table of the grid.
    """
    return _rates(grid, frechet_by_image(grid, features, range(len(grid.lengths))))


def read_reference(folder: Path, dataset: str, feature_name: str) -> pd.DataFrame:
    """Read the rows of a finished sweep that variants are compared with; see `reference_rows`."""
    table, path = pd.read_parquet(folder / TABLE_FILE), folder / features_file(feature_name)
    if dataset not in set(table["dataset"]):
        return pd.DataFrame(columns=["image_id", "length", "bits", "l1", "frechet"])
    return reference_rows(table, dataset, np.load(path, mmap_mode="r") if path.is_file() else None)


def reference_rows(table: pd.DataFrame, dataset: str, features: np.ndarray | None = None) -> pd.DataFrame:
    """Return the columns of a sweep table that variants are compared with: those of `image_rates`.

    Args:
        table: of a sweep.
        dataset: the set.
        features: row-aligned with the table. Column frechet is null without them, and at all lengths but the longest,
            at which alone a tokenizer is compared with another of other lengths.
    """
    grid = to_grid(table).dataset(dataset)
    distances = np.full(grid.rows.shape, np.nan)
    if features is not None and grid.clean_rows is not None and len(grid) >= MIN_IMAGES:
        distances[:, -1:] = frechet_by_image(grid, features, [-1])
    return _rates(grid, distances)


def frechet_by_image(grid: SweepGrid, features: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Return (n, columns) numbers whose mean is the Fréchet distance at each of these places among the lengths."""
    assert grid.clean_rows is not None
    distances = FeatureDistances(features)
    found = [distances.frechet(grid.clean_rows, grid.rows[:, each]) for each in columns]
    return np.stack([part.value + part.effects.astype(np.float64) for part in found], axis=1)


def _rates(grid: SweepGrid, distances: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": np.repeat(grid.images["image_id"].to_numpy(dtype=object), len(grid.lengths)),
            "length": np.tile(grid.lengths, len(grid)),
            "bits": grid.score("bits").ravel(),
            "l1": grid.score("l1").ravel(),
            "frechet": distances.ravel(),
        }
    )


def variant_costs(
    tokenizer: AdaptiveTokenizer, config: DistillTrainingConfig, image: Tensor, seed: int
) -> pd.DataFrame:
    """Return one row per length: length, encode_gflop, decode_gflop, parameters, visits, training_tflop.

    Args:
        tokenizer: as trained.
        config: of its stage 1.
        image: (1, 3, h, w) in [0, 1], to count operations on; they do not depend on what it shows.
        seed: of its training, which draws the iterations that each step supervises.

    `parameters` leaves the base tokenizer out; `visits` counts images seen in stage 1 and `training_tflop` its
    operations, forward and backward.
    """
    with torch.no_grad():
        counted = {
            (operation.name, operation.length): gigaflop(operation, image) for operation in operations(tokenizer)
        }
    visits = config.optimization.steps * config.optimization.batch_size
    training = config.optimization.batch_size * stage_1_gigaflop(tokenizer, config, image, seed) / 1e3
    return pd.DataFrame(
        {
            "length": tokenizer.lengths,
            "encode_gflop": [counted[ENCODE, length] for length in tokenizer.lengths],
            "decode_gflop": [counted[DECODE, length] for length in tokenizer.lengths],
            "parameters": sum(weight.numel() for weight in tokenizer.distillation.parameters()),
            "visits": visits,
            "training_tflop": training,
        }
    )


def read_stage_1(folder: Path) -> DistillTrainingConfig:
    """Return the settings of stage 1 that a finished training was made with."""
    path = folder / TRAINING_FILE
    return parse_settings(DistillTrainingConfig, read_json(path).get("training"), source=str(path))


def stage_1_gigaflop(tokenizer: AdaptiveTokenizer, config: DistillTrainingConfig, image: Tensor, seed: int) -> float:
    """Return the operations of stage 1 per image of a batch, in units of 1e9: its steps as their schedule has them.

    Forward and backward passes of what each step supervises; base tokens come from a cache and count nothing.
    """
    objective = DistillObjective(tokenizer.distillation, config)
    base_tokens = encode_frozen(tokenizer.base, image)
    generator = torch.Generator(image.device).manual_seed(0)  # halting's draws change no count

    @cache
    def counted(iterations: tuple[int, ...]) -> float:
        def run() -> None:
            with torch.enable_grad():
                objective(image, base_tokens, tokenizer.base.codebook, iterations, True, generator).total.backward()

        found = count_flop(run) / GIGA
        objective.zero_grad(set_to_none=True)
        return found

    steps = range(config.optimization.steps)
    return sum(counted(supervised_at(step, config, tokenizer.config.iterations, seed)) for step in steps)
