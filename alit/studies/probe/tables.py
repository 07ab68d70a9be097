"""Linear probes of the tokenizer's features: accuracy by iteration and by pooled latents (paper, sec. 5)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.study_data import StudyData
from alit.errors import DataError, NotMeasurable
from alit.studies.probe import FeaturePoint

ACCURACY, CORRECT = "probe_accuracy", "probe_correct"
POINT = list(FeaturePoint._fields)
SCORE_COLUMNS = ["dataset", "images", "trained_on", "seeds", *POINT, "size", "label", "value", "low", "high", "spread"]


class ProbeResults(NamedTuple):
    """Which images the probe of each feature point gets right."""

    dataset: str
    points: tuple[FeaturePoint, ...]
    correct: np.ndarray  # (n, points) share of the seeds

    def find(self, point: FeaturePoint) -> int | None:
        """Return the number of a point, or None where it was not probed."""
        return self.points.index(point) if point in self.points else None

    @property
    def lengths(self) -> dict[int, int]:
        """Latents of each probed iteration, ascending."""
        iterations = sorted({point.iteration for point in self.points if point.latents})
        return {each: max(point.latents for point in self.points if point.iteration == each) for each in iterations}


def probe_results(data: StudyData) -> ProbeResults:
    """Return which test images each probe gets right.

    Raises:
        NotMeasurable: nothing was probed, or no image has a label.
        DataError: the points were not scored on the same images.
    """
    if ACCURACY not in data.tables or CORRECT not in data.tables:
        reason = data.why_not_measured("probe", f"there is no table {ACCURACY}; run: dvc repro measure")
        raise NotMeasurable(reason)
    table = data.tables[CORRECT]
    if table.empty:
        raise NotMeasurable("the images have no labels")
    number = table.groupby(POINT, sort=False, observed=True).ngroup().to_numpy()
    image, names = pd.factorize(table["image_id"].astype(str))
    correct = np.full((len(names), number.max() + 1), np.nan)
    correct[image, number] = table["correct"].to_numpy()
    if np.isnan(correct).any() or correct.size != len(table):
        raise DataError("expected every feature point on the same images, found gaps; run: dvc repro measure")
    points = table[POINT].drop_duplicates().itertuples(index=False)
    return ProbeResults(str(table["dataset"].iloc[0]), tuple(FeaturePoint(*row) for row in points), correct)


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
    samples = accuracy_samples(results, range(len(points)), data)
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


def accuracy_samples(results: ProbeResults, columns: Sequence[int], data: StudyData) -> np.ndarray:
    """Return (1 + r, columns) accuracies of some points over the same resamples of the test images."""
    return resampled_means(results.correct[:, list(columns)], data.bootstrap.resamples, data.bootstrap.seed)
