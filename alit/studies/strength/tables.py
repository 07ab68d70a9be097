"""Weak against strong task models: what each loses on reconstructions of fewer and fewer tokens (paper, Fig. 7, C8).

Strength is measured, never assumed: it is the performance on the untouched images against the truth (labels, exact
depth, reference captions). The *drop* at a length is how much worse the performance is than on the untouched images,
as a share of the latter; the paper's figure colors by the gap between the two. Where a table holds a network's answers
on reconstructions only against its own answers on the originals, the drop against those is given too: it needs no
truth, but says nothing about who is the stronger.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, interval, interval_table, resampled_means
from alit.analysis.grid import SweepGrid, metric_info
from alit.analysis.instruments import AGREEMENT, BLIND
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData

Against = Literal["truth", "own answer"]


SCORES: dict[tuple[str, Against], tuple[str, str]] = {  # task, against -> column prefix, name on axes
    ("classification", "truth"): ("top1_", "top-1 accuracy"),
    ("depth", "truth"): ("depth_true_error_", "relative error against exact depth"),
    ("captioning", "truth"): ("caption_true_score_", "token F1 against the reference caption"),
    ("depth", "own answer"): ("depth_error_", "relative error against its own answer on the original"),
    ("captioning", "own answer"): ("caption_score_", "token F1 against its own caption of the original"),
}
RULES = {"lower": "no picture: lower is nearer", "center": "no picture: closer to the center is nearer"}
STRENGTH_COLUMNS = [
    "task",
    "against",
    "model",
    "place",
    "images",
    "label",
    "better",
    "clean",
    "clean_low",
    "clean_high",
]
STRENGTH_COLUMNS += ["length", "value", "low", "high", "drop", "drop_low", "drop_high"]
AGREEMENT_COLUMNS = [
    *("dataset", "model", "images", "clean", "clean_low", "clean_high"),  # one value for all lengths
    *("length", "value", "low", "high"),
]


class ModelComparison(NamedTuple):
    """Models of one task, what they are compared with, and the images that all have scores for."""

    task: str
    against: Against
    models: tuple[str, ...]  # weak to strong, where there is a truth to tell by
    columns: tuple[str, ...]  # one per model
    grid: SweepGrid

    @property
    def chance(self) -> float:
        """What a guess is worth, where that is known: of an accuracy among the set's classes, else 0."""
        guesses = self.columns[-1].startswith("top1_in_set_")
        return 1 / max(len(set(self.grid.images["label"].dropna())), 1) if guesses else 0.0


class Performance(NamedTuple):
    """Bootstrap means of one model, point estimate first; r resamples, l lengths."""

    clean: np.ndarray  # (1 + r,) on the untouched images
    values: np.ndarray  # (1 + r, l) on reconstructions
    sign: float  # +1 where higher is better, -1 where lower is

    @property
    def gap(self) -> np.ndarray:
        """Return (1 + r, l) how much worse it is on reconstructions, in units of the task."""
        return self.sign * (self.clean[:, None] - self.values)

    @property
    def drop(self) -> np.ndarray:
        """Return (1 + r, l) the gap as a share of the performance on untouched images.

        A relative depth error against the network's own answer is 0 there and a share already: it is its own drop.
        """
        return np.divide(self.gap, self.clean[:, None], out=self.gap.copy(), where=self.clean[:, None] != 0)

    def log_odds_lost(self, images: int) -> np.ndarray:
        """Return (1 + r, l) how much lower the log-odds are than on untouched images; for scores from 0 to 1.

        Half an image is added to either side (Haldane and Anscombe, 1956), so that none or all right have odds, too.
        """
        clean, values = ((images * each + 0.5) / (images + 1) for each in (self.clean[:, None], self.values))
        return np.log(clean / (1 - clean)) - np.log(values / (1 - values))


def model_pairs(data: StudyData) -> dict[str, tuple[str, ...]]:
    """Return the profile's models of each task, in its order, of tasks that have more than one."""
    settings = data.settings
    named = {
        "classification": settings.classifiers,
        "depth": settings.depth_models,
        "captioning": settings.captioners,
    }
    return {task: models for task, models in named.items() if len(models) > 1}


def model_comparisons(data: StudyData) -> tuple[ModelComparison, ...]:
    """Return the comparisons of `model_pairs` that the table has scores for, on in-distribution images.

    Models go from weak to strong by their mean performance on the untouched images against the truth, equal ones and
    those of a task without a truth in the profile's order.
    """
    here, ordered = data.grid.dataset(data.dataset), model_pairs(data)
    found = []
    for (task, against), (prefix, _) in SCORES.items():  # the truth of a task before its models' own answers
        models = tuple(name for name in ordered.get(task, ()) if data.measured(prefix + name))
        columns = tuple(data.accuracy_of(name) if prefix == "top1_" else prefix + name for name in models)
        grid = here.complete(columns)
        if len(models) > 1:
            clean = np.stack([grid.clean[column] for column in columns], axis=1)  # image model
            grid = grid.subset(np.flatnonzero(np.isfinite(clean).all(axis=1)))
        if len(models) > 1 and len(grid):
            comparison = ModelComparison(task, against, models, columns, grid)
            if against == "truth":
                comparison = _weak_to_strong(comparison)
                unknown = [name for name in ordered[task] if name not in models]
                ordered[task] = (*unknown, *comparison.models)
            found.append(comparison)
    return tuple(found)


def _weak_to_strong(comparison: ModelComparison) -> ModelComparison:
    clean = [metric_info(name).sign * comparison.grid.clean[name].mean() for name in comparison.columns]
    order = np.argsort(clean, kind="stable")
    models, columns = (tuple(names[place] for place in order) for names in (comparison.models, comparison.columns))
    return comparison._replace(models=models, columns=columns)


def performances(comparison: ModelComparison, bootstrap: BootstrapConfig) -> tuple[Performance, ...]:
    """Return each model's performance over the same resamples of images, so that differences are paired."""
    found = []
    for column in comparison.columns:
        both = np.concatenate([comparison.grid.clean[column][:, None], comparison.grid.score(column)], axis=1)
        means = resampled_means(both, bootstrap.resamples, bootstrap.seed)
        found.append(Performance(means[:, 0], means[:, 1:], metric_info(column).sign))
    return tuple(found)


def strength_table(data: StudyData) -> pd.DataFrame:
    """Return each model's performance and drop by length, with bootstrap intervals over images.

    Returns:
        Columns task, against ("truth" or "own answer"), model, place (0 the weakest), images, label, better, clean,
        clean_low, clean_high, length, value, low, high, drop, drop_low, drop_high.
    """
    parts = [part for comparison in model_comparisons(data) for part in _rows(data, comparison)]
    if not parts:
        return pd.DataFrame(columns=STRENGTH_COLUMNS)
    return pd.concat(parts, ignore_index=True)


def depth_agreement_table(data: StudyData) -> pd.DataFrame:
    """Return how far each depth model orders pixels as their known depth does, by data set and length.

    The Spearman correlation over an image's pixels, averaged over the images that have known depth, metric or
    relative, with bootstrap intervals over these images. Rules that look at no picture are given beside the models,
    where the table has them. Data sets without known depth have no rows.

    Returns:
        Columns dataset, model, images, clean, clean_low, clean_high (untouched images), length, value, low, high.
    """
    columns = [AGREEMENT + model for model in data.settings.depth_models if AGREEMENT + model in data.grid.scores]
    columns += [BLIND + rule for rule in RULES if columns and BLIND + rule in data.grid.scores]
    checks = [] if data.checks is None else [(data.checks, name) for name in data.checks.datasets]
    parts = []
    for whole, name in [*((data.grid, name) for name in data.grid.datasets), *checks]:
        grid = whole.dataset(name).complete(columns)
        clean = np.array([grid.clean[column] for column in columns]).reshape(len(columns), len(grid))  # model image
        grid = grid.subset(np.flatnonzero(np.isfinite(clean).all(axis=0)))
        for column in columns if len(grid) else ():
            parts.append(_agreement_rows(grid, name, column, data.bootstrap))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=AGREEMENT_COLUMNS)


def _agreement_rows(grid: SweepGrid, dataset: str, column: str, bootstrap: BootstrapConfig) -> pd.DataFrame:
    both = np.concatenate([grid.clean[column][:, None], grid.score(column)], axis=1)
    means = resampled_means(both, bootstrap.resamples, bootstrap.seed)
    clean = estimate(means[:, 0], bootstrap.confidence)
    return interval_table(
        means[:, 1:],
        bootstrap.confidence,
        dataset=dataset,
        model=RULES.get(column.removeprefix(BLIND), column.removeprefix(AGREEMENT)),
        images=len(grid),
        clean=clean.value,
        clean_low=clean.low,
        clean_high=clean.high,
        length=grid.lengths,
    )


def _rows(data: StudyData, comparison: ModelComparison) -> Iterator[pd.DataFrame]:
    confidence = data.bootstrap.confidence
    models = zip(comparison.models, comparison.columns, performances(comparison, data.bootstrap), strict=True)
    for place, (model, column, performance) in enumerate(models):
        clean = estimate(performance.clean, confidence)
        drop_low, drop_high = interval(performance.drop, confidence)
        table = interval_table(
            performance.values,
            confidence,
            task=comparison.task,
            against=comparison.against,
            model=model,
            place=place,
            images=len(comparison.grid),
            label=SCORES[comparison.task, comparison.against][1],
            better=metric_info(column).better,
            clean=clean.value,
            clean_low=clean.low,
            clean_high=clean.high,
            length=comparison.grid.lengths,
        )
        yield table.assign(drop=performance.drop[0], drop_low=drop_low, drop_high=drop_high)
