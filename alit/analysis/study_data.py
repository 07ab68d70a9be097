"""What the studies and the claims are computed from: the folded sweep table, features, and the settings to ask with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from alit.analysis.distances import FeatureDistances, Features
from alit.analysis.grid import SweepGrid
from alit.analysis.selection import BootstrapConfig, SelectionCriterion, criterion_on, own_column
from alit.paths import NOT_MEASURED
from alit.settings import Settings
from alit.tokenizer.origin import origin_of_sweep


class AnalysisConfig(Settings):
    """What the studies and the claims ledger ask of the table."""

    resamples: PositiveInt  # bootstrap resamples over images
    confidence: float = Field(gt=0, lt=1)
    l1_thresholds: tuple[float, ...]
    class_ranks: tuple[int, ...]  # top-X criteria
    class_ranks_among: Literal["set", "all"] = "set"  # the data set's own classes, or all of the network's (the paper)
    depth_thresholds: tuple[float, ...]
    perceptual_thresholds: tuple[float, ...]
    caption_thresholds: tuple[float, ...]  # least token F1
    # Task models, the last is the reference model; empty, as lists or names, where there is none. Which is the stronger
    # is measured.
    classifiers: tuple[str, ...]
    depth_models: tuple[str, ...]
    captioners: tuple[str, ...]
    perceptual_model: str
    feature_extractor: str
    familiarity: tuple[
        str, ...
    ]  # sets progressively less like the training images; the first is the next after in-distribution


class StudyData(NamedTuple):
    """The inputs of an analysis."""

    grid: SweepGrid
    dataset: str  # the in-distribution set: the profile's first with role evaluate
    base_tokens: int  # image tokens of the base tokenizer; capacities are a share of them
    settings: AnalysisConfig
    seed: int
    features: Mapping[str, np.ndarray]  # extractor -> (table rows, f); a kept run has none
    tables: Mapping[str, pd.DataFrame] = MappingProxyType({})  # name -> a table that a study measured beside the sweep
    controlled_scenes: SweepGrid | None = None  # in which one factor of complexity varies; not in `grid`
    checks: SweepGrid | None = None  # sets that only say how far depth networks may be trusted; not in `grid` either
    record: Mapping[str, Any] = MappingProxyType({})  # what the numbers are made with: the sweep's config.json
    chosen_criteria: tuple[str, ...] | None = None  # columns to draw curves of; None takes every reference score
    chosen_tasks: tuple[str, ...] | None = None  # columns to draw curves of; None takes every reference task
    distances: Mapping[str, FeatureDistances] = MappingProxyType({})  # extractor -> what its features give, or gave
    # Name of a baseline -> the same of another training of this tokenizer: other scores of the same images and lengths.
    trainings: Mapping[str, "StudyData"] = MappingProxyType({})

    @property
    def bootstrap(self) -> BootstrapConfig:
        """How intervals are made."""
        return BootstrapConfig(self.settings.resamples, self.settings.confidence, self.seed)

    @property
    def reference_features(self) -> Features | None:
        """What the reference distances between sets of images come from; None where there is nothing."""
        return self.features_of(self.settings.feature_extractor)

    def features_of(self, extractor: str) -> Features | None:
        """What distances between sets of images on an extractor come from; None where there is nothing.

        Its features, with every distance computed once; or, of a run that is kept without features, the distances that
        its ledger asked for.
        """
        return self.distances.get(extractor, self.features.get(extractor))

    @property
    def rank_column(self) -> str:
        """Class rank of the reference classifier (the paper's ResNet-18), among the classes that the settings say."""
        return own_column(self.accuracy_column)

    @property
    def accuracy_column(self) -> str:
        """Top-1 accuracy of the reference classifier."""
        return self.accuracy_of(self.settings.classifiers[-1] if self.settings.classifiers else "")

    def accuracy_of(self, classifier: str) -> str:
        """Top-1 accuracy of a classifier, among the set's classes where the settings want that and the table has it."""
        own = f"top1_in_set_{classifier}"
        return own if self.settings.class_ranks_among == "set" and self.measured(own) else f"top1_{classifier}"

    def accuracy_among_all(self, classifier: str) -> str | None:
        """Accuracy of a classifier among all its classes where another decides; None where the two are the same.

        They are where the network has the classes of the set and no others.
        """
        own, among_all = self.accuracy_of(classifier), f"top1_{classifier}"
        if own == among_all or not self.measured(among_all):
            return None
        here = self.grid.dataset(self.dataset)
        same = all(np.array_equal(each[own], each[among_all], equal_nan=True) for each in (here.clean, here.scores))
        return None if same else among_all

    @property
    def depth_column(self) -> str | None:
        """Depth error of the reference depth model (the paper's Depth Anything V2), where the profile has one."""
        return f"depth_error_{self.settings.depth_models[-1]}" if self.settings.depth_models else None

    @property
    def caption_column(self) -> str | None:
        """Caption score of the reference captioner (the paper's BLIP), where the profile has one."""
        return f"caption_score_{self.settings.captioners[-1]}" if self.settings.captioners else None

    @property
    def perceptual_column(self) -> str:
        """Reference perceptual distance."""
        return f"perceptual_{self.settings.perceptual_model}"

    def measured(self, *columns: str | None) -> tuple[str, ...]:
        """Those of the columns that hold values on the in-distribution set."""
        here = (self.grid.images["dataset"] == self.dataset).to_numpy(dtype=bool)
        known = (name for name in columns if name is not None and name in self.grid.scores)
        return tuple(name for name in known if np.isfinite(self.grid.score(name)[here]).any())

    @property
    def checkpoint(self) -> str:
        """Whose weights were measured; empty where the sweep's record does not say."""
        return "" if (origin := origin_of_sweep(self.record)) is None else origin.describe()

    def why_not_measured(self, study: str, otherwise: str) -> str:
        """Return why a study's own measurement has no tables: as its stage wrote it down, else the given words."""
        table = self.tables.get(f"{study}_{NOT_MEASURED}")
        return otherwise if table is None else str(table["reason"].iloc[0])

    def task_grid(self) -> SweepGrid:
        """The in-distribution images with a score in every criterion and task, so that curves share their images."""
        known = {*self.criterion_columns(), *self.task_columns(), *self.measured(*(self.chosen_tasks or ()))}
        return self.grid.dataset(self.dataset).complete(known)

    def criterion_columns(self) -> tuple[str, ...]:
        """Reference scores that tokens can be selected by, those that are measured."""
        columns = ("l1", self.rank_column, self.depth_column, self.perceptual_column, self.caption_column)
        return self.measured(*columns)

    def task_columns(self) -> tuple[str, ...]:
        """Reference tasks with a score for each image, those that are measured; the Fréchet distance has none."""
        return self.measured(self.accuracy_column, self.depth_column, self.perceptual_column, self.caption_column)

    def criteria(self) -> tuple[tuple[SelectionCriterion, tuple[float, ...]], ...]:
        """The selection criteria that can be measured here, or those that were chosen, each with its thresholds."""
        known = {
            "l1": self.settings.l1_thresholds,
            self.rank_column: tuple(map(float, self.settings.class_ranks)),
            self.depth_column: self.settings.depth_thresholds,
            self.perceptual_column: self.settings.perceptual_thresholds,
            self.caption_column: self.settings.caption_thresholds,
        }
        columns = self.criterion_columns()
        if self.chosen_criteria is not None:
            columns = tuple(name for name in columns if name in self.chosen_criteria)
        return tuple((criterion_on(name), known[name]) for name in columns if known[name])
