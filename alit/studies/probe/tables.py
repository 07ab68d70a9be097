"""Linear probes of the tokenizer's features: accuracy by iteration and by pooled latents (paper, sec. 5)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.study_data import StudyData
from alit.errors import DataError

ACCURACY, CORRECT = "probe_accuracy", "probe_correct"
WORDS = {"image": "image tokens", "latents": "latents", "both": "image tokens and latents"}
CONTROL_WORDS = {
    "constant": "nothing (most frequent class)",
    "colors": "mean and spread of the colors",
    "pixels": "coarse pixels",
    "base": "base tokens, pooled",
    "base grid": "base tokens, coarse grid",
}


class Point(NamedTuple):
    """A feature point as the tables have it; see docs/studies/probe.md."""

    features: str  # "tokenizer" or the name of a control
    iteration: int = 0
    tokens: str = ""
    latents: int = 0
    stage: str = ""
    pooling: str = ""

    @property
    def label(self) -> str:
        """What is probed, in words, whatever the iteration."""
        if self.features != "tokenizer":
            return CONTROL_WORDS.get(self.features, self.features)
        words = [WORDS[self.tokens]]
        words += ["quantized"] * (self.stage == "quantizer") + ["side by side"] * (self.pooling == "concatenated")
        return ", ".join(words)


POINT = list(Point._fields)
SCORE_COLUMNS = ["dataset", "images", "trained_on", "seeds", *POINT, "size", "label", "value", "low", "high", "spread"]


class Probed(NamedTuple):
    """Which images the probe of each feature point gets right."""

    dataset: str
    points: tuple[Point, ...]
    correct: np.ndarray  # (n, points) share of the seeds

    def find(self, point: Point) -> int | None:
        """Return the number of a point, or None where it was not probed."""
        return self.points.index(point) if point in self.points else None

    @property
    def lengths(self) -> dict[int, int]:
        """Latents of each probed iteration, ascending."""
        iterations = sorted({point.iteration for point in self.points if point.latents})
        return {each: max(point.latents for point in self.points if point.iteration == each) for each in iterations}


def why_no_probes(data: StudyData) -> str | None:
    """Return why there is nothing to read, or None where there is."""
    if ACCURACY not in data.tables or CORRECT not in data.tables:
        return f"there is no table {ACCURACY}; run: dvc repro probe"
    return "the images have no labels" if data.tables[CORRECT].empty else None


def probed(data: StudyData) -> Probed | None:
    """Fold the tables of the probes; None where there are none.

    Raises:
        DataError: the points were not scored on the same images.
    """
    if why_no_probes(data):
        return None
    table = data.tables[CORRECT]
    number = table.groupby(POINT, sort=False, observed=True).ngroup().to_numpy()
    image, names = pd.factorize(table["image_id"].astype(str))
    correct = np.full((len(names), number.max() + 1), np.nan)
    correct[image, number] = table["correct"].to_numpy()
    if np.isnan(correct).any() or correct.size != len(table):
        raise DataError("expected every feature point on the same images, found gaps; run: dvc repro probe")
    return Probed(str(table["dataset"].iloc[0]), _points(table), correct)


def probe_scores(data: StudyData) -> pd.DataFrame:
    """Test accuracy of every feature point, one row each; columns `SCORE_COLUMNS`.

    `value` is the mean over seeds, `low` and `high` an interval over test images, `spread` the standard deviation over
    seeds (nan for one seed), `size` the number of features.
    """
    here = probed(data)
    if here is None:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    samples = resampled_means(here.correct, data.bootstrap.resamples, data.bootstrap.seed)
    low, high = interval(samples, data.bootstrap.confidence)
    table = data.tables[ACCURACY]
    fits = {_points(part)[0]: part for _, part in table.groupby(POINT, sort=False, observed=True)}
    rows = []
    for number, point in enumerate(here.points):
        on_test, on_train = (fits[point].loc[fits[point]["split"] == split] for split in ("test", "train"))
        about = (here.dataset, len(here.correct), int(on_train["n"].to_numpy()[0]), len(on_test), *point)
        about += (int(on_train["size"].to_numpy()[0]), point.label)
        spread = pd.Series(on_test["accuracy"]).std()
        rows.append((*about, samples[0, number], low[number], high[number], spread))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def accuracy_samples(here: Probed, columns: Sequence[int], data: StudyData) -> np.ndarray:
    """Return (1 + r, columns) accuracies of some points over the same resamples of the test images."""
    return resampled_means(here.correct[:, list(columns)], data.bootstrap.resamples, data.bootstrap.seed)


def _points(table: pd.DataFrame) -> tuple[Point, ...]:
    """Return the feature points of a table in order of first appearance."""
    return tuple(Point(*row) for row in table[POINT].drop_duplicates().itertuples(index=False))
