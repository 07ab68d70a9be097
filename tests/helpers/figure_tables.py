"""Every table that a figure of the sweep is drawn from, and the figures, in little."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from strength_tables import with_model_pairs
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.selection import SelectionCriterion, allocate_by_threshold, uniform_allocation
from alit.plots.style import Plot
from alit.report.pages import training_curves
from alit.studies.complexity.figures import complexity_correlations, length_by_complexity, loss_by_complexity
from alit.studies.complexity.tables import binned_lengths, binned_losses, correlation_table
from alit.studies.reconstruction.figures import rate_distortion, selected_lengths
from alit.studies.reconstruction.tables import length_counts, study_rates
from alit.studies.strength.figures import depth_agreement, drop_by_strength, performance_by_strength
from alit.studies.strength.tables import depth_agreement_table, strength_table
from alit.studies.tsc_toi.figures import (
    criteria_for_task,
    oracle_gaps,
    task_limits,
    tasks_by_capacity,
    tasks_under_criterion,
)
from alit.studies.tsc_toi.tables import oracle_curves, oracle_gap_table, shown_tasks, task_curves

CURVES = ("task", "criterion", "capacity", "gains", "performance", "drops", "agreement")
NAMES = ("rates", "losses", "lengths", "correlations", "counts", *CURVES, "training")


class Tables(NamedTuple):
    """Every table that a figure is drawn from."""

    rates: pd.DataFrame
    losses: pd.DataFrame
    lengths: pd.DataFrame
    correlations: pd.DataFrame
    counts: pd.DataFrame
    curves: pd.DataFrame
    best: pd.DataFrame
    gains: pd.DataFrame
    strength: pd.DataFrame
    agreement: pd.DataFrame
    log: pd.DataFrame

    def drawn(self) -> dict[str, Plot]:
        limits = task_limits(self.curves)
        return {
            "rates": rate_distortion(self.rates),
            "losses": loss_by_complexity(self.losses),
            "lengths": length_by_complexity(self.lengths),
            "correlations": complexity_correlations(self.correlations),
            "counts": selected_lengths(self.counts),
            "task": criteria_for_task(self.curves, "top1_strong", limits),
            "criterion": tasks_under_criterion(self.curves, "depth_error_depth", limits),
            "capacity": tasks_by_capacity(self.curves, self.best),
            "gains": oracle_gaps(self.gains),
            "performance": performance_by_strength(self.strength),
            "drops": drop_by_strength(self.strength),
            "agreement": depth_agreement(self.agreement),
            "training": training_curves(self.log, "Base"),
        }


def figure_tables() -> Tables:
    """Return the tables of a small synthetic sweep."""
    data = synthetic_study_data(with_model_pairs(synthetic_table(80, ("val", "near"))))
    grid, here, limits = data.task_grid(), data.grid.dataset("val"), data.settings.l1_thresholds
    allocations = [allocate_by_threshold(grid, criterion, thresholds) for criterion, thresholds in data.criteria()]
    allocations.append(uniform_allocation(grid))
    steps = np.arange(1, 60)
    late = np.where(steps < 9, np.nan, 1.0)
    return Tables(
        rates=study_rates(data),
        losses=binned_losses(data.grid, data.bootstrap),
        lengths=binned_lengths(data.grid, limits, data.bootstrap),
        correlations=correlation_table(data.grid, limits, data.bootstrap),
        counts=length_counts(here, allocate_by_threshold(here, SelectionCriterion("l1"), limits)),
        curves=pd.concat([task_curves(data, grid, each, shown_tasks(data)) for each in allocations]),
        best=oracle_curves(data, grid, data.task_columns()),
        gains=oracle_gap_table(grid, data.criterion_columns(), data.task_columns(), data.bootstrap),
        strength=strength_table(data),
        agreement=depth_agreement_table(data),
        log=pd.DataFrame({"step": steps, "loss": 2.0 / steps, "note": "x", "late": late}),
    )
