"""The tables of the studies' figures, each one call from the evidence."""

import pandas as pd

from alit.analysis.bootstrap import interval
from alit.analysis.complexity import (
    correlation_table,
    error_correlations,
    length_by_complexity,
    length_counts,
    loss_by_complexity,
)
from alit.analysis.curves import allocate, curve_table, uniform_allocation
from alit.analysis.evidence import Evidence
from alit.analysis.frechet_samples import sample_frechet
from alit.analysis.measures import measure
from alit.analysis.oracle import oracle_allocation, realised_table
from alit.analysis.selection import Criterion


def complexity_losses(evidence: Evidence) -> pd.DataFrame:
    """Binned L1 against complexity at each length (Fig. 4, 11, 12); see `loss_by_complexity`."""
    return loss_by_complexity(evidence.grid, evidence.how)


def complexity_lengths(evidence: Evidence) -> pd.DataFrame:
    """Binned selected length against complexity under each L1 threshold; see `length_by_complexity`."""
    return length_by_complexity(evidence.grid, evidence.settings.l1_thresholds, evidence.how)


def complexity_by_error(evidence: Evidence) -> pd.DataFrame:
    """Spearman of complexity with L1, SSIM and the perceptual distance of record; see `error_correlations`."""
    columns = ("l1", "ssim", evidence.perceptual_column)
    known = [column for column in columns if column in evidence.grid.scores]
    return error_correlations(evidence.grid, known, evidence.how)


def complexity_correlations(evidence: Evidence) -> pd.DataFrame:
    """Spearman of complexity with loss, selected length and codec bytes; see `correlation_table`."""
    return correlation_table(evidence.grid, evidence.settings.l1_thresholds, evidence.how)


def selected_lengths(evidence: Evidence) -> pd.DataFrame:
    """Images by selected length under each L1 threshold, in-distribution set; see `length_counts`."""
    here = evidence.grid.dataset(evidence.dataset).complete(["l1"])
    return length_counts(here, allocate(here, Criterion("l1"), evidence.settings.l1_thresholds))


def task_curves(evidence: Evidence) -> pd.DataFrame:
    """Every measurable criterion against every task of record, and the uniform baseline (Fig. 5, 6, 14, 15).

    Tasks are those of record, the accuracy of the weakest classifier beside them, and the Fréchet distance of record,
    on the images of the in-distribution set that every criterion can score. Columns as `curve_table`.
    """
    grid = evidence.task_grid()
    weak = evidence.measured(f"top1_{evidence.settings.classifiers[0]}")
    accuracies = evidence.measured(evidence.accuracy_column)
    tasks = list(dict.fromkeys([*accuracies, *weak, *evidence.task_columns()])) or ["l1"]
    allocations = [allocate(grid, criterion, thresholds) for criterion, thresholds in evidence.criteria()]
    allocations.append(uniform_allocation(grid))
    table = pd.concat(
        [curve_table(grid, each, tasks, evidence.base_tokens, evidence.how) for each in allocations], ignore_index=True
    )
    extractor = evidence.settings.feature_extractor
    if extractor not in evidence.features or grid.clean_rows is None:
        return table
    described = measure(f"frechet_{extractor}")
    for each in allocations:
        first = table[(table["tsc"] == each.name) & (table["toi"] == tasks[0])]
        samples = sample_frechet(evidence.features[extractor], grid, each.positions, evidence.how)
        low, high = interval(samples, evidence.how.confidence)
        named = {"toi": described.column, "toi_label": described.label, "better": described.better}
        rows = first.assign(**named, value=samples[0], low=low, high=high)
        table = pd.concat([table, rows], ignore_index=True)
    return table


def oracle_curves(evidence: Evidence) -> pd.DataFrame:
    """The best possible allocation of each task of record, at every capacity; columns as `curve_table`.

    See `oracle_allocation` for what it is optimal for. A Fréchet distance has none.
    """
    grid = evidence.task_grid()
    parts = [
        curve_table(grid, oracle_allocation(grid, task), [task], evidence.base_tokens, evidence.how)
        for task in evidence.task_columns()
    ]
    return pd.concat(parts, ignore_index=True)


def realised_gains(evidence: Evidence) -> pd.DataFrame:
    """How much of what tokens can do for a task each criterion of record realises; see `realised_table`."""
    return realised_table(evidence.task_grid(), evidence.criterion_columns(), evidence.task_columns(), evidence.how)
