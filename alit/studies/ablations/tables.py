"""Variants of a training compared: rates, paired changes and cost (Tab. 3, 4, Fig. 10), over images and trainings."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.grid import Metric, metric_info
from alit.analysis.selection import BootstrapConfig
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


def to_trainings(table: pd.DataFrame, column: str) -> Trainings:
    """Return a column of the rows of one variant, one row per seed, image_id and length, as an array.

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


def measured_table(data: StudyData, name: str) -> pd.DataFrame:
    """Return one of `TABLES`, empty where the profile has not measured it."""
    return data.tables.get(name, pd.DataFrame(columns=list(TABLES[name])))


def compared_metrics(data: StudyData) -> tuple[Metric, Metric]:
    """Return what variants are compared by: L1, and the Fréchet distance on the reference extractor."""
    distance = metric_info(f"frechet_{data.settings.feature_extractor}")
    return metric_info("l1"), distance._replace(column=FRECHET)


def trainings_of(data: StudyData, variant: str, column: str) -> Trainings | None:
    """Return the trainings of a variant; None where there are none."""
    table = measured_table(data, VARIANTS)
    rows = table.loc[table["variant"] == variant]
    return None if rows.empty else to_trainings(rows, column)


def variant_rates(data: StudyData) -> pd.DataFrame:
    """Return each variant's means by length, columns `RATED`."""
    costs = measured_table(data, COSTS).drop_duplicates(["variant", "length"])
    parts = []
    for name in measured_table(data, VARIANTS)["variant"].unique():
        for metric in compared_metrics(data):
            found = trainings_of(data, name, metric.column)
            assert found is not None
            rates = interval_table(
                over_trainings(sample_trainings(found.values, data.bootstrap), data.seed),
                data.bootstrap.confidence,
                variant=name,
                length=found.lengths,
                measure=metric.column,
                label=metric.label,
                seeds=len(found.seeds),
                images=found.values.shape[1],
            )
            parts.append(rates)
    if not parts:
        return pd.DataFrame(columns=list(RATED))
    rates = pd.concat(parts, ignore_index=True)
    return rates.merge(costs[["variant", "length", "encode_gflop"]], on=["variant", "length"], how="left")


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


def comparisons(data: StudyData) -> list[tuple[str, str, str]]:
    """Return (factor, variant, than) of every comparison of the profile."""
    pairs = measured_table(data, COMPARISONS)[["factor", "variant", "than"]]
    return list(pairs.astype(str).itertuples(index=False, name=None))


def comparison_table(data: StudyData) -> pd.DataFrame:
    """Return every comparison that could be measured, columns `COMPARED`.

    `value` is the share by which the variant's error is lower.
    """
    parts = []
    for factor, variant, than in comparisons(data):
        for metric in compared_metrics(data):
            samples = sample_reduction(data, variant, than, metric.column)
            if samples is None:
                continue
            change = interval_table(
                samples[:, None],
                data.bootstrap.confidence,
                factor=factor,
                variant=variant,
                than=than,
                measure=metric.column,
                label=metric.label,
                seeds=shared_seeds(data, variant, than),
                images=image_count(data),
            )
            parts.append(change)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COMPARED))


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
    pairs = [each for each in comparisons(data) if each[0] in HEADLINE]
    series = {name: name for _, *names in pairs for name in names}
    series |= {than: "a network per length" for factor, _, than in pairs if factor == HEADLINE[1]}
    rates = variant_rates(data)
    chosen = rates.loc[rates["variant"].isin(list(series)) & (rates["measure"] == "l1")]
    return chosen.assign(series=[series[name] for name in chosen["variant"]])


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
