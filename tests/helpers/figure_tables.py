"""Every table that a figure is drawn from, and the figures, in little."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from strength_tables import with_model_pairs
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.plots.training import training_curves, training_curves_alt
from alit.studies.complexity.figures import (
    complexity_correlations,
    complexity_correlations_alt,
    length_by_complexity,
    length_by_complexity_alt,
    loss_by_complexity,
    loss_by_complexity_alt,
)
from alit.studies.reconstruction import tables as rates
from alit.studies.reconstruction.figures import (
    rate_distortion,
    rate_distortion_alt,
    selected_lengths,
    selected_lengths_alt,
)
from alit.studies.strength import tables as strength
from alit.studies.strength.figures import (
    depth_agreement,
    depth_agreement_alt,
    drop_by_strength,
    drop_by_strength_alt,
    performance_by_strength,
    performance_by_strength_alt,
)
from alit.studies.tsc_toi import tables as studies
from alit.studies.tsc_toi.figures import (
    criteria_for_task,
    criteria_for_task_alt,
    oracle_gaps,
    oracle_gaps_alt,
    task_limits,
    tasks_by_capacity,
    tasks_by_capacity_alt,
    tasks_under_criterion,
    tasks_under_criterion_alt,
)

CURVES = ("task", "criterion", "capacity", "gains", "performance", "drops", "agreement")
NAMES = ("rates", "losses", "lengths", "correlations", "counts", *CURVES, "training")


class Tables:
    """Every table that a figure is drawn from."""

    def __init__(self) -> None:
        data = synthetic_study_data(with_model_pairs(synthetic_table(80, ("val", "near"))))
        self.rates = rates.study_rates(data)
        self.losses = studies.complexity_losses(data)
        self.lengths = studies.complexity_lengths(data)
        self.correlations = studies.complexity_correlations(data)
        self.counts = studies.selected_lengths(data)
        self.curves = studies.task_curves(data)
        self.best = studies.oracle_curves(data)
        self.gains = studies.oracle_gaps(data)
        self.strength = strength.strength_table(data)
        self.agreement = strength.depth_agreement_table(data)
        steps = np.arange(1, 60)
        late = np.where(steps < 9, np.nan, 1.0)
        self.log = pd.DataFrame({"step": steps, "loss": 2.0 / steps, "note": "x", "late": late})

    def drawn(self) -> dict[str, tuple[Figure, str]]:
        limits = task_limits(self.curves)
        task, criterion = "top1_strong", "depth_error_depth"
        under = tasks_under_criterion(self.curves, criterion, limits)
        return {
            "rates": (rate_distortion(self.rates), rate_distortion_alt(self.rates)),
            "losses": (loss_by_complexity(self.losses), loss_by_complexity_alt(self.losses)),
            "lengths": (length_by_complexity(self.lengths), length_by_complexity_alt(self.lengths)),
            "correlations": (
                complexity_correlations(self.correlations),
                complexity_correlations_alt(self.correlations),
            ),
            "counts": (selected_lengths(self.counts), selected_lengths_alt(self.counts)),
            "task": (
                criteria_for_task(self.curves, task, limits),
                criteria_for_task_alt(self.curves, task),
            ),
            "criterion": (under, tasks_under_criterion_alt(self.curves, criterion)),
            "capacity": (tasks_by_capacity(self.curves, self.best), tasks_by_capacity_alt(self.curves)),
            "gains": (oracle_gaps(self.gains), oracle_gaps_alt(self.gains)),
            "performance": (
                performance_by_strength(self.strength),
                performance_by_strength_alt(self.strength),
            ),
            "drops": (drop_by_strength(self.strength), drop_by_strength_alt(self.strength)),
            "agreement": (depth_agreement(self.agreement), depth_agreement_alt(self.agreement)),
            "training": (training_curves(self.log, "Base"), training_curves_alt(self.log, "Base")),
        }
