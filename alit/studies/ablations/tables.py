"""Variants of a training compared: rates, paired changes and cost (Tab. 3, 4, Fig. 10), over images and trainings."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.grid import Metric, metric_info
from alit.analysis.inference import SeedVariance, TrainingStandardError, over_trainings, pooled_seed_variance
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData
from alit.errors import DataError


class Trainings(NamedTuple):
    """One variant: its trainings, the images, and its lengths."""

    seeds: tuple[int, ...]
    lengths: tuple[int, ...]
    values: np.ndarray  # (seeds, images, lengths)


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


class Levels(NamedTuple):
    """The log error of each training of one variant, mean over images, with its resamples."""

    seeds: tuple[int, ...]
    lengths: tuple[int, ...]
    logs: np.ndarray  # (1 + r, seeds, lengths), the point estimate first

    def at(self, lengths: Sequence[int]) -> np.ndarray:
        """Return (1 + r, seeds) mean log errors over some lengths."""
        return self.logs[:, :, [self.lengths.index(length) for length in lengths]].mean(axis=2)


def log_levels(found: Trainings, bootstrap: BootstrapConfig) -> Levels:
    """Return the log of each training's mean error at each length; all trainings see the same resamples of images."""
    seeds, images, _ = found.values.shape
    side_by_side = found.values.transpose(1, 0, 2).reshape(images, -1)
    means = resampled_means(side_by_side, bootstrap.resamples, bootstrap.seed)
    with np.errstate(invalid="ignore", divide="ignore"):  # a Fréchet distance near 0 moves below it: no interval
        logs = np.log(means)
    return Levels(found.seeds, found.lengths, logs.reshape(1 + bootstrap.resamples, seeds, -1))


def training_variance(variants: Iterable[Levels], lengths: Sequence[int]) -> SeedVariance | None:
    """Return how much one training's log error varies with its seed, pooled over the variants; None where none tells.

    On the log scale, where a training is so many per cent off whatever its level, all variants are taken to vary alike.

    Args:
        variants: of one measure; those that lack a length, or were trained once, are left out.
        lengths: over which the log error is averaged.
    """
    groups = [each.at(lengths)[0] for each in variants if set(lengths) <= set(each.lengths)]
    return pooled_seed_variance(groups) if any(len(group) > 1 for group in groups) else None


VARIANTS, COSTS = "ablation_variants", "ablation_costs"
COMPARISONS, REFERENCES = "ablation_comparisons", "ablation_references"
FRECHET = "frechet"
HEADLINE = ("recurrence", "fixed length")  # the factors of the question whether recurrence beats one pass
TABLES = {  # their columns, for a profile that has not measured them
    VARIANTS: ("variant", "seed", "image_id", "length", "bits", "l1", FRECHET),
    COSTS: ("variant", "seed", "length", "encode_gflop", "decode_gflop", "parameters", "visits", "training_tflop"),
    COMPARISONS: ("factor", "variant", "than"),
    REFERENCES: ("tokenizer", "image_id", "length", "bits", "l1", FRECHET),
}
RATED = ("variant", "length", "measure", "label", "seeds", "images", "value", "low", "high", "encode_gflop")
COMPARED = ("factor", "variant", "than", "length", "measure", "label", "seeds", "images", "value", "low", "high")


def measured_table(data: StudyData, name: str) -> pd.DataFrame:
    """Return one of `TABLES`, empty where the profile has not measured it."""
    return data.tables.get(name, pd.DataFrame(columns=list(TABLES[name])))


def mean_by_length(data: StudyData, name: str, column: str) -> dict[tuple[str, int], float]:
    """Return the means of a column of one of `TABLES`, by variant and length."""
    means = measured_table(data, name).pivot_table(values=column, index="variant", columns="length", aggfunc="mean")
    return {
        (str(variant), int(length)): float(value)
        for variant, row in zip(means.index, means.to_numpy(), strict=True)
        for length, value in zip(means.columns, row, strict=True)
        if not np.isnan(value)
    }


def compared_metrics(data: StudyData) -> tuple[Metric, Metric]:
    """Return what variants are compared by: L1, and the Fréchet distance on the reference extractor."""
    distance = metric_info(f"frechet_{data.settings.feature_extractor}")
    return metric_info("l1"), distance._replace(column=FRECHET)


def levels_of(data: StudyData, column: str) -> dict[str, Levels]:
    """Return every variant's log errors in one measure, by the variant's name."""
    table = measured_table(data, VARIANTS)
    return {
        str(name): log_levels(to_trainings(rows, column), data.bootstrap)
        for name, rows in table.groupby("variant", sort=False)
    }


def variant_rates(data: StudyData) -> pd.DataFrame:
    """Return each variant's means by length, columns `RATED`: geometric means over its trainings."""
    costs = measured_table(data, COSTS).drop_duplicates(["variant", "length"])
    parts = []
    for metric in compared_metrics(data):
        levels = levels_of(data, metric.column)
        for name, found in levels.items():
            logs = np.stack([sample_level(levels, name, [length], data.seed) for length in found.lengths], axis=1)
            rates = interval_table(
                np.exp(logs),
                data.bootstrap.confidence,
                variant=name,
                length=found.lengths,
                measure=metric.column,
                label=metric.label,
                seeds=len(found.seeds),
                images=image_count(data),
            )
            parts.append(rates)
    if not parts:
        return pd.DataFrame(columns=list(RATED))
    rates = pd.concat(parts, ignore_index=True)
    return rates.merge(costs[["variant", "length", "encode_gflop"]], on=["variant", "length"], how="left")


def sample_level(levels: Mapping[str, Levels], variant: str, lengths: Sequence[int], seed: int) -> np.ndarray:
    """Return (1 + r,) a variant's log error, mean over lengths, images and trainings, with the spread of both.

    Where no variant was trained twice, the interval is one over images alone.
    """
    between = training_variance(levels.values(), lengths)
    return over_trainings(levels[variant].at(lengths), seed, between)


def sample_reduction(
    levels: Mapping[str, Levels],
    variant: str,
    than: str,
    lengths: Sequence[int],
    than_lengths: Sequence[int] | None = None,
    *,
    seed: int,
) -> np.ndarray:
    """Return (1 + r,) by which share a variant's error lies below another's: 1 minus a ratio of geometric means.

    Images are paired, trainings are not: two variants need no seed in common, and a single training of one of them
    spreads as those of the others do.

    Args:
        levels: of all variants, which share the variance between trainings.
        variant: the one that is expected to be better.
        than: the other.
        lengths: over which the log errors are averaged.
        than_lengths: those of the other; by default the same.
        seed: of the draws.
    """
    than_lengths = lengths if than_lengths is None else than_lengths
    own, other = levels[variant].at(lengths), levels[than].at(than_lengths)
    change = own.mean(axis=1) - other.mean(axis=1)
    between = _variance_of_a_change(levels, variant, than, lengths, than_lengths)
    # Other comparisons get other draws, or the noise of trainings would be common to all and pool away nowhere.
    draws = zlib.crc32(f"{seed} {variant} {than}".encode())
    return 1 - np.exp(over_trainings(change[:, None], draws, between))


def _variance_of_a_change(
    levels: Mapping[str, Levels], variant: str, than: str, lengths: Sequence[int], than_lengths: Sequence[int]
) -> SeedVariance | None:
    """Return the variance that trainings give to a difference of two mean log errors; None where no variant tells."""
    own, other = (training_variance(levels.values(), each) for each in (lengths, than_lengths))
    if own is None or other is None:
        return None
    variance = own.variance / len(levels[variant].seeds) + other.variance / len(levels[than].seeds)
    return SeedVariance(variance, min(own.degrees, other.degrees))


def training_error(
    levels: Mapping[str, Levels],
    variant: str,
    than: str,
    lengths: Sequence[int],
    than_lengths: Sequence[int],
    reduction: float,
) -> TrainingStandardError | None:
    """Return the standard error that trainings give to a reduction; None where no variant was trained twice.

    Args:
        levels: of all variants, which share the variance between trainings.
        variant: the one that is expected to be better.
        than: the other.
        lengths: over which the log errors are averaged.
        than_lengths: those of the other.
        reduction: its value, 1 minus a ratio; an error of the ratio is that of its log, times the ratio.
    """
    between = _variance_of_a_change(levels, variant, than, lengths, than_lengths)
    if between is None:
        return None
    return TrainingStandardError((1 - reduction) * float(np.sqrt(between.variance)), float(between.degrees))


def training_spread(levels: Mapping[str, Levels], lengths: Sequence[int], than_lengths: Sequence[int]) -> float:
    """Return the standard deviation of a reduction between pairs of single trainings; nan where no variant tells."""
    spreads = [training_variance(levels.values(), each) for each in (lengths, than_lengths)]
    return float(np.sqrt(sum(np.nan if each is None else float(each.variance) for each in spreads)))


def shared_lengths(levels: Mapping[str, Levels], variant: str, than: str) -> list[int]:
    """Return the lengths at which two variants were both measured; none where one was not trained."""
    if variant not in levels or than not in levels:
        return []
    return sorted(set(levels[variant].lengths) & set(levels[than].lengths))


def comparisons(data: StudyData) -> list[tuple[str, str, str]]:
    """Return (factor, variant, than) of every comparison of the profile."""
    pairs = measured_table(data, COMPARISONS)[["factor", "variant", "than"]]
    return list(pairs.astype(str).itertuples(index=False, name=None))


def compared_variants(data: StudyData, factors: Iterable[str]) -> list[str]:
    """Return the variants that are compared in some factors, each after the one that it is expected to beat."""
    pairs = [each for each in comparisons(data) if each[0] in set(factors)]
    return list(dict.fromkeys(name for _, variant, than in pairs for name in (than, variant)))


def comparison_table(data: StudyData, *, by_length: bool = False) -> pd.DataFrame:
    """Return every comparison that could be measured, columns `COMPARED`.

    `value` is the share by which the variant's error is lower: over all lengths that both have, column length 0, or a
    row for each of them.
    """
    measures = [(metric, levels_of(data, metric.column)) for metric in compared_metrics(data)]
    parts = []
    for factor, variant, than in comparisons(data):
        for metric, levels in measures:
            lengths = shared_lengths(levels, variant, than)
            for at in [[length] for length in lengths] if by_length else [lengths] * bool(lengths):
                change = interval_table(
                    sample_reduction(levels, variant, than, at, seed=data.seed)[:, None],
                    data.bootstrap.confidence,
                    factor=factor,
                    variant=variant,
                    than=than,
                    length=at[0] if by_length else 0,
                    measure=metric.column,
                    label=metric.label,
                    seeds=trainings_count(levels, variant, than),
                    images=image_count(data),
                )
                parts.append(change)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COMPARED))


def trainings_count(levels: Mapping[str, Levels], *variants: str) -> int:
    """Return the number of trainings of the variant that has the fewest."""
    return min(len(levels[name].seeds) for name in variants)


def noise_table(data: StudyData) -> pd.DataFrame:
    """Return how far one training is off by chance, as the variants that were trained several times tell.

    Returns:
        Columns label, length, trainings (of the variants that tell), percent (one standard deviation, of the error).
    """
    rows = []
    for metric in compared_metrics(data):
        levels = levels_of(data, metric.column)
        for length in sorted({length for each in levels.values() for length in each.lengths}):
            several = [each for each in levels.values() if len(each.seeds) > 1 and length in each.lengths]
            if between := training_variance(several, [length]):
                count = sum(len(each.seeds) for each in several)
                rows.append((metric.label, length, count, 100 * float(np.sqrt(between.variance))))
    return pd.DataFrame(rows, columns=["label", "length", "trainings", "percent"])


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
