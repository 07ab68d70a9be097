"""Linear probes of the tokenizer's features: accuracy by iteration and by pooled latents (paper, sec. 5)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, interval_table, resampled_means
from alit.analysis.inference import SeedVariance, TrainingStandardError, over_trainings, pooled_seed_variance
from alit.analysis.study_data import StudyData
from alit.errors import DataError, NotMeasurable
from alit.studies.probe import TOKENIZER, TOKENS, FeaturePoint, FixedLengthPair

ACCURACY, CORRECT, PAIRS = "probe_accuracy", "probe_correct", "probe_pairs"
POINT = list(FeaturePoint._fields)
SCORE_COLUMNS = ["dataset", "images", "trained_on", "seeds", *POINT, "size", "label", "value", "low", "high", "spread"]
PARITY_COLUMNS = ["dataset", "images", "tokens", "length", "seeds", "variant", "than", "label", "value", "low", "high"]


class ProbeResults(NamedTuple):
    """Which images the probe of each feature point gets right."""

    dataset: str
    points: tuple[FeaturePoint, ...]
    correct: np.ndarray  # (n, points) share of the seeds
    pairs: tuple[FixedLengthPair, ...]  # variants that are compared; none in tables that were kept before there were

    def find(self, point: FeaturePoint) -> int | None:
        """Return the number of a point, or None where it was not probed."""
        return self.points.index(point) if point in self.points else None

    @property
    def lengths(self) -> dict[int, int]:
        """Latents of each probed iteration of the profile's own tokenizer, ascending."""
        own = [(point.iteration, point.latents) for point in self.points if point.features == TOKENIZER]
        return {each: max(count for number, count in own if number == each) for each, count in sorted(own) if count}

    def of_fixed_lengths(self) -> dict[tuple[str, int, str, str], list[tuple[int, int]]]:
        """Group the compared variants: tokens, latents and both names -> numbers of their points, by training."""
        found: dict[tuple[str, int, str, str], list[tuple[int, int]]] = {}
        for pair in self.pairs:
            variant, than = (
                {point.tokens: (number, point) for number, point in enumerate(self.points) if point.features == name}
                for name in pair
            )
            latents = max((point.latents for _, point in than.values()), default=0)
            names = [name.split("/")[1] for name in pair]
            for tokens in (kind for kind in TOKENS if kind in variant and kind in than):
                key = (tokens, latents, names[0], names[1])
                found.setdefault(key, []).append((variant[tokens][0], than[tokens][0]))
        return found


def probe_results(data: StudyData) -> ProbeResults:
    """Return which test images each probe gets right.

    Raises:
        NotMeasurable: nothing was probed, or no image has a label.
        DataError: the points were not scored on the same images.
    """
    if ACCURACY not in data.tables or CORRECT not in data.tables:
        reason = data.why_not_measured("probe", f"there is no table {ACCURACY}; run: dvc repro probe")
        raise NotMeasurable(reason)
    table = data.tables[CORRECT]
    if table.empty:
        raise NotMeasurable("the images have no labels")
    number = table.groupby(POINT, sort=False, observed=True).ngroup().to_numpy()
    image, names = pd.factorize(table["image_id"].astype(str))
    correct = np.full((len(names), number.max() + 1), np.nan)
    correct[image, number] = table["correct"].to_numpy()
    if np.isnan(correct).any() or correct.size != len(table):
        raise DataError("expected every feature point on the same images, found gaps; run: dvc repro probe")
    points = table[POINT].drop_duplicates().itertuples(index=False)
    pairs = data.tables[PAIRS].itertuples(index=False) if PAIRS in data.tables else ()
    return ProbeResults(
        str(table["dataset"].iloc[0]),
        tuple(FeaturePoint(*row) for row in points),
        correct,
        tuple(FixedLengthPair(*row) for row in pairs),
    )


def probe_scores(data: StudyData) -> pd.DataFrame:
    """Return the test accuracy of every feature point, one row each; columns `SCORE_COLUMNS`, no rows without probes.

    `value` is the mean over seeds, `low` and `high` an interval over test images, `spread` the standard deviation over
    seeds (nan for one seed), `size` the number of features.
    """
    try:
        results = probe_results(data)
    except NotMeasurable:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    points = pd.DataFrame(list(results.points))
    fits = points.merge(data.tables[ACCURACY], on=POINT)
    fits = {split: part.groupby(POINT, sort=False) for split, part in fits.groupby("split")}
    samples = accuracy_samples(results, data)
    scores = interval_table(
        samples,
        data.bootstrap.confidence,
        **{name: points[name] for name in POINT},
        dataset=results.dataset,
        images=len(results.correct),
        trained_on=fits["train"]["n"].first().to_numpy(),
        seeds=fits["test"].size().to_numpy(),
        size=fits["train"]["size"].first().to_numpy(),
        label=[point.label for point in results.points],
    )
    return scores.assign(spread=fits["test"]["accuracy"].std().to_numpy()).reindex(columns=SCORE_COLUMNS)


def accuracy_samples(results: ProbeResults, data: StudyData) -> np.ndarray:
    """Return (1 + r, points) accuracies of all points over the same resamples of the test images."""
    return resampled_means(results.correct, data.bootstrap.resamples, data.bootstrap.seed)


class Parity(NamedTuple):
    """Accuracy of a recurrent variant minus that of one of a fixed length, at that length."""

    tokens: str  # one of `TOKENS`
    latents: int
    variant: str
    than: str
    trainings: int  # of each
    samples: np.ndarray  # (1 + r,) mean over trainings
    error: TrainingStandardError | None  # that was drawn into the samples; None where each variant was trained once


def sample_parity(results: ProbeResults, accuracies: np.ndarray, seed: int) -> list[Parity]:
    """Resample what recurrent variants reach beyond those of a fixed length, over test images and trainings.

    Trainings of one variant are few; their spread is pooled over all variants, on the same kind of tokens. Differences
    of pairs are not pooled: pairs share the recurrent variant's trainings, and would count its spread several times.

    Args:
        results: which variants are compared.
        accuracies: (1 + r, points) of `accuracy_samples`.
        seed: of the draws that stand for other trainings.
    """
    found = results.of_fixed_lengths()
    gains = {}
    for key, numbers in found.items():
        first, second = (list(each) for each in zip(*numbers, strict=True))
        gains[key] = accuracies[:, first] - accuracies[:, second]
    parities = []
    for (tokens, latents, variant, than), gain in gains.items():
        between = _spread_of_gains(found, accuracies[0], tokens)
        samples, count = over_trainings(gain, seed, between), gain.shape[1]
        error = None
        if between is not None:
            error = TrainingStandardError(float(np.sqrt(between.variance / count)), float(between.degrees))
        parities.append(Parity(tokens, latents, variant, than, count, samples, error))
    return parities


def _spread_of_gains(
    found: Mapping[tuple[str, int, str, str], Sequence[tuple[int, int]]], accuracies: np.ndarray, tokens: str
) -> SeedVariance | None:
    """Return the variance between seeds of a difference of two variants; None where each was trained once.

    Args:
        found: (tokens, latents, variant, than) -> the numbers of both variants' points, training by training.
        accuracies: (points,) of all points.
        tokens: the kind of tokens; each variant counts once, with the first length that it is compared at.
    """
    own: dict[str, np.ndarray] = {}
    for (kind, _, variant, than), numbers in found.items():
        if kind == tokens:
            first, second = (list(each) for each in zip(*numbers, strict=True))
            own.setdefault(variant, accuracies[first])
            own.setdefault(than, accuracies[second])
    if all(len(each) < 2 for each in own.values()):
        return None
    pooled = pooled_seed_variance(list(own.values()))
    return SeedVariance(2 * pooled.variance, pooled.degrees)


def parity_table(data: StudyData) -> pd.DataFrame:
    """Return what recurrent variants reach beyond those of a fixed length, at that length; columns `PARITY_COLUMNS`.

    `value` is the difference of test accuracies, mean over `seeds` trainings of each variant.
    """
    try:
        results = probe_results(data)
    except NotMeasurable:
        return pd.DataFrame(columns=PARITY_COLUMNS)
    rows = []
    for part in sample_parity(results, accuracy_samples(results, data), data.bootstrap.seed):
        about = (results.dataset, len(results.correct), part.tokens, part.latents, part.trainings)
        names = (part.variant, part.than, TOKENS[part.tokens])
        rows.append((*about, *names, *estimate(part.samples, data.bootstrap.confidence)))
    return pd.DataFrame(rows, columns=PARITY_COLUMNS)
