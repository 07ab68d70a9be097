"""Every table that a figure is drawn from, and the figures, in little."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from strength_tables import with_rivals
from synthetic_tables import synthetic_evidence, synthetic_table

from alit import plots
from alit.analysis import rates, strength, studies

CURVES = ("task", "criterion", "capacity", "gains", "performance", "drops", "agreement")
NAMES = ("rates", "losses", "lengths", "correlations", "counts", *CURVES, "training")


class Tables:
    """Every table that a figure is drawn from."""

    def __init__(self) -> None:
        evidence = synthetic_evidence(with_rivals(synthetic_table(80, ("val", "near"))))
        self.rates = rates.study_rates(evidence)
        self.losses = studies.complexity_losses(evidence)
        self.lengths = studies.complexity_lengths(evidence)
        self.correlations = studies.complexity_correlations(evidence)
        self.counts = studies.selected_lengths(evidence)
        self.curves = studies.task_curves(evidence)
        self.best = studies.oracle_curves(evidence)
        self.gains = studies.realised_gains(evidence)
        self.strength = strength.strength_table(evidence)
        self.agreement = strength.depth_agreement_table(evidence)
        steps = np.arange(1, 60)
        late = np.where(steps < 9, np.nan, 1.0)
        self.log = pd.DataFrame({"step": steps, "loss": 2.0 / steps, "note": "x", "late": late})

    def drawn(self) -> dict[str, tuple[Figure, str]]:
        limits = plots.task_limits(self.curves)
        task, criterion = "top1_strong", "depth_error_depth"
        under = plots.tasks_under_criterion(self.curves, criterion, limits)
        return {
            "rates": (plots.rate_distortion(self.rates), plots.rate_distortion_alt(self.rates)),
            "losses": (plots.loss_by_complexity(self.losses), plots.loss_by_complexity_alt(self.losses)),
            "lengths": (plots.length_by_complexity(self.lengths), plots.length_by_complexity_alt(self.lengths)),
            "correlations": (
                plots.complexity_correlations(self.correlations),
                plots.complexity_correlations_alt(self.correlations),
            ),
            "counts": (plots.selected_lengths(self.counts), plots.selected_lengths_alt(self.counts)),
            "task": (
                plots.criteria_for_task(self.curves, task, limits),
                plots.criteria_for_task_alt(self.curves, task),
            ),
            "criterion": (under, plots.tasks_under_criterion_alt(self.curves, criterion)),
            "capacity": (plots.tasks_by_capacity(self.curves, self.best), plots.tasks_by_capacity_alt(self.curves)),
            "gains": (plots.realised_gains(self.gains), plots.realised_gains_alt(self.gains)),
            "performance": (
                plots.performance_by_strength(self.strength),
                plots.performance_by_strength_alt(self.strength),
            ),
            "drops": (plots.drop_by_strength(self.strength), plots.drop_by_strength_alt(self.strength)),
            "agreement": (plots.depth_agreement(self.agreement), plots.depth_agreement_alt(self.agreement)),
            "training": (plots.training_curves(self.log, "Base"), plots.training_curves_alt(self.log, "Base")),
        }
