"""Scores of several trainings of one network on the same images, and bootstrap intervals over both."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.curves import BootstrapConfig
from alit.analysis.frechet import covariance_root, features_to_statistics, frechet_influence
from alit.analysis.grid import SweepGrid
from alit.analysis.metrics import Metric, metric_info
from alit.analysis.study_data import StudyData
from alit.errors import DataError


class Trainings(NamedTuple):
    """One variant: its trainings, the images, and its lengths."""

    seeds: tuple[int, ...]
    lengths: tuple[int, ...]
    values: np.ndarray  # (seeds, images, lengths)

    def restricted(self, seeds: list[int], lengths: list[int]) -> "Trainings":
        """Return the given trainings at the given lengths."""
        rows = [self.seeds.index(seed) for seed in seeds]
        columns = [self.lengths.index(length) for length in lengths]
        return Trainings(tuple(seeds), tuple(lengths), self.values[rows][:, :, columns])


def fold_trainings(table: pd.DataFrame, column: str) -> Trainings:
    """Fold the rows of one variant: one per seed, image_id and length.

    Raises:
        DataError: some training lacks an image or a length, or has one twice.
    """
    ordered = table.sort_values(["seed", "image_id", "length"])
    seeds, lengths = (tuple(int(value) for value in np.unique(ordered[name].to_numpy())) for name in ("seed", "length"))
    images = len(ordered["image_id"].unique())
    if len(ordered) != len(seeds) * images * len(lengths):
        raise DataError(
            f"expected {len(seeds)} trainings x {images} images x {len(lengths)} lengths of a variant, found "
            f"{len(ordered)} rows; run the ablations stage again"
        )
    return Trainings(seeds, lengths, ordered[column].to_numpy(dtype=np.float64).reshape(len(seeds), images, -1))


def sample_trainings(values: np.ndarray, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r, seeds, lengths) means of values (seeds, images, lengths) over images, the point estimate first."""
    seeds, images, _ = values.shape
    side_by_side = values.transpose(1, 0, 2).reshape(images, -1)
    return resampled_means(side_by_side, bootstrap.resamples, bootstrap.seed).reshape(
        1 + bootstrap.resamples, seeds, -1
    )


def over_trainings(samples: np.ndarray, seed: int) -> np.ndarray:
    """Return (1 + r, ...) means over trainings of samples (1 + r, seeds, ...), with their spread in the resamples.

    A few trainings are too few to draw from. Each resample of the images is moved instead by a draw from Student's t
    with one degree of freedom less than trainings, times their standard error. A single training leaves that part
    out: its interval is one over images alone.
    """
    count = samples.shape[1]
    means = samples.mean(axis=1)
    if count > 1:
        error = samples[0].std(axis=0, ddof=1) / np.sqrt(count)
        draws = np.random.default_rng([seed, count]).standard_t(count - 1, size=len(means) - 1)
        means[1:] += draws.reshape(-1, *[1] * error.ndim) * error
    return means


VARIANTS, COSTS = "ablation_variants", "ablation_costs"
COMPARISONS, REFERENCES = "ablation_comparisons", "ablation_references"
FRECHET = "frechet"
HEADLINE = ("recurrence", "fixed length")  # the factors of the question whether recurrence beats one pass
TABLES = {  # their columns, for a profile that has not measured them
    VARIANTS: ("variant", "seed", "image_id", "length", "bits", "l1", FRECHET),
    COSTS: ("variant", "seed", "length", "encode_gflop", "decode_gflop", "parameters", "visits", "training_tflop"),
    COMPARISONS: ("factor", "variant", "than"),
    REFERENCES: ("tokenizer", "image_id", "length", "bits", "l1"),
}
RATED = ("variant", "length", "measure", "label", "seeds", "images", "value", "low", "high", "encode_gflop")
COMPARED = ("factor", "variant", "than", "measure", "label", "seeds", "images", "value", "low", "high")


def image_rates(grid: SweepGrid, features: np.ndarray) -> pd.DataFrame:
    """Return one row per image and length of a sweep: image_id, length, bits, l1, frechet.

    Args:
        grid: the images of one data set, untouched ones included.
        features: (table rows, f) of the reference extractor, row-aligned with the table of the grid.
    """
    assert grid.clean_rows is not None
    reference = features_to_statistics(features, grid.clean_rows)
    root = covariance_root(reference.covariance)
    found = [frechet_influence(features, grid.clean_rows, rows, reference, root) for rows in grid.rows.T]
    return pd.DataFrame(
        {
            "image_id": np.repeat(grid.images["image_id"].to_numpy(dtype=object), len(grid.lengths)),
            "length": np.tile(grid.lengths, len(grid)),
            "bits": grid.score("bits").ravel(),
            "l1": grid.score("l1").ravel(),
            FRECHET: np.stack([part.value + part.effects for part in found], axis=1).ravel(),
        }
    )


def measured_table(data: StudyData, name: str) -> pd.DataFrame:
    """Return one of `TABLES`, empty where the profile has not measured it."""
    return data.tables.get(name, pd.DataFrame(columns=list(TABLES[name])))


def measures(data: StudyData) -> tuple[Metric, Metric]:
    """Return what variants are compared by: L1, and the reference Fréchet distance."""
    record = metric_info(f"frechet_{data.settings.feature_extractor}")
    return metric_info("l1"), record._replace(column=FRECHET)


def trainings_of(data: StudyData, variant: str, column: str) -> Trainings | None:
    """Return the trainings of a variant; None where there are none."""
    table = measured_table(data, VARIANTS)
    rows = pd.DataFrame(table.loc[table["variant"] == variant])
    return None if rows.empty else fold_trainings(rows, column)


def variant_rates(data: StudyData) -> pd.DataFrame:
    """Return each variant's means by length, columns `RATED`."""
    costs = measured_table(data, COSTS)
    parts = [pd.DataFrame(columns=list(RATED))]
    for name in measured_table(data, VARIANTS)["variant"].unique():
        spent = costs.loc[costs["variant"] == name].drop_duplicates("length").set_index("length")["encode_gflop"]
        for described in measures(data):
            found = trainings_of(data, name, described.column)
            assert found is not None
            samples = over_trainings(sample_trainings(found.values, data.bootstrap), data.seed)
            low, high = interval(samples, data.bootstrap.confidence)
            rows = {
                "variant": name,
                "length": found.lengths,
                "measure": described.column,
                "label": described.label,
                "seeds": len(found.seeds),
                "images": found.values.shape[1],
                "value": samples[0],
                "low": low,
                "high": high,
                "encode_gflop": [float(spent.loc[length]) for length in found.lengths],
            }
            parts.append(pd.DataFrame(rows))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def sample_reduction(data: StudyData, variant: str, than: str, column: str) -> np.ndarray | None:
    """Return (1 + r,) by which share a variant's error lies below another's, mean over the lengths of both.

    Trainings of one seed are paired, and so are images. None where one was not trained, or they share neither a seed
    nor a length.
    """
    first, second = (trainings_of(data, name, column) for name in (variant, than))
    if first is None or second is None:
        return None
    seeds = sorted(set(first.seeds) & set(second.seeds))
    lengths = sorted(set(first.lengths) & set(second.lengths))
    if not seeds or not lengths:
        return None
    own, other = (sample_trainings(each.restricted(seeds, lengths).values, data.bootstrap) for each in (first, second))
    return over_trainings(((other - own) / other).mean(axis=2), data.seed)


def asked_comparisons(data: StudyData) -> Iterator[tuple[str, str, str]]:
    """Yield (factor, variant, than) of every comparison that the profile asks for."""
    asked = measured_table(data, COMPARISONS)[["factor", "variant", "than"]]
    yield from ((str(factor), str(variant), str(than)) for factor, variant, than in asked.to_numpy())


def comparison_table(data: StudyData) -> pd.DataFrame:
    """Return every comparison that could be measured, columns `COMPARED`.

    `value` is the share by which the variant's error is lower.
    """
    parts: list[dict[str, Any]] = []
    for factor, variant, than in asked_comparisons(data):
        for described in measures(data):
            samples = sample_reduction(data, variant, than, described.column)
            if samples is None:
                continue
            low, high = interval(samples, data.bootstrap.confidence)
            counts = {"seeds": shared_seeds(data, variant, than), "images": image_count(data)}
            names = {"factor": factor, "variant": variant, "than": than}
            found = {"value": samples[0], "low": float(low), "high": float(high)}
            parts.append({**names, "measure": described.column, "label": described.label, **counts, **found})
    return pd.DataFrame(parts, columns=list(COMPARED))


def shared_seeds(data: StudyData, variant: str, than: str) -> int:
    """Return how many trainings of two variants are paired."""
    table = measured_table(data, VARIANTS)
    seeds = [set(table.loc[table["variant"] == name, "seed"].unique()) for name in (variant, than)]
    return len(set.intersection(*seeds))


def image_count(data: StudyData) -> int:
    """Return on how many images variants were measured."""
    return len(measured_table(data, VARIANTS)["image_id"].unique())


def headline_rates(data: StudyData) -> pd.DataFrame:
    """Return L1 of the variants in which recurrence is compared with one pass, and many lengths with one.

    Returns:
        Columns series and `RATED`. A series is a variant, or all networks of one fixed length together.
    """
    asked = list(asked_comparisons(data))
    variants = [variant for factor, variant, _ in asked if factor in HEADLINE]
    model_pairs = [than for factor, _, than in asked if factor == HEADLINE[0]]
    series = {name: name for name in [*variants, *model_pairs]}
    series |= {than: "a network per length" for factor, _, than in asked if factor == HEADLINE[1]}
    rates = variant_rates(data)
    chosen = pd.DataFrame(rates.loc[rates["variant"].isin(list(series)) & (rates["measure"] == "l1")])
    return chosen.assign(series=[series[name] for name in chosen["variant"]])


def reference_rows(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return what other tokenizers are compared by from the rows of a sweep table."""
    rows = (table["dataset"] == dataset) & (table["length"] > 0)
    return pd.DataFrame(table.loc[rows, ["image_id", "length", "bits", "l1"]])


def cost_summary(data: StudyData) -> pd.DataFrame:
    """Return one row per variant: what it was given and what it reached.

    Returns:
        Index variant; columns trainings, parameters (without the base), images seen, training TFLOP (stage 1), GFLOP
        to encode at the longest length, and L1 there.
    """
    rates = variant_rates(data)
    longest = rates.loc[rates["measure"] == "l1"].sort_values("length").groupby("variant", sort=False).tail(1)
    costs = measured_table(data, COSTS).sort_values("length").groupby("variant", sort=False).tail(1)
    table = longest.merge(costs[["variant", "parameters", "visits", "training_tflop"]], on="variant")
    names = {
        "variant": "variant",
        "length": "tokens",
        "seeds": "trainings",
        "parameters": "parameters",
        "visits": "images seen",
        "training_tflop": "training TFLOP",
        "encode_gflop": "encode GFLOP",
        "value": "L1",
    }
    return table[list(names)].rename(columns=names).set_index("variant")
