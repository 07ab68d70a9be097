"""Figures of the studies: DataFrame in, Figure out, one family a file; `save` is the only function that writes."""

from alit.plots.ablations import (
    one_pass_or_many,
    one_pass_or_many_alt,
    paired_changes,
    paired_changes_alt,
)
from alit.plots.attention import (
    attention_lead,
    attention_lead_alt,
    attention_overlap,
    attention_overlap_alt,
    attention_sparsity,
    attention_sparsity_alt,
)
from alit.plots.attention_maps import attention_maps, attention_maps_alt
from alit.plots.codebook import (
    closest_pairs,
    closest_pairs_alt,
    codebook_usage,
    codebook_usage_alt,
    codebook_use,
    codebook_use_alt,
    kept_tokens,
    kept_tokens_alt,
    nearest_images,
    nearest_images_alt,
)
from alit.plots.complexity import (
    complexity_correlations,
    complexity_correlations_alt,
    length_by_complexity,
    length_by_complexity_alt,
    loss_by_complexity,
    loss_by_complexity_alt,
    partial_correlations,
    partial_correlations_alt,
)
from alit.plots.controlled import controlled_complexity, controlled_complexity_alt
from alit.plots.cost import cost_by_length, cost_by_length_alt
from alit.plots.familiarity import detection, detection_alt, familiarity_gaps, familiarity_gaps_alt
from alit.plots.gain import realised_gains, realised_gains_alt
from alit.plots.lengths import selected_lengths, selected_lengths_alt
from alit.plots.probe import (
    probe_by_iteration,
    probe_by_iteration_alt,
    probe_by_latents,
    probe_by_latents_alt,
    probe_grids,
    probe_grids_alt,
)
from alit.plots.rate_distortion import (
    rate_distortion,
    rate_distortion_alt,
    rate_distortion_by_bits,
    rate_distortion_by_bits_alt,
)
from alit.plots.strength import (
    drop_by_strength,
    drop_by_strength_alt,
    performance_by_strength,
    performance_by_strength_alt,
)
from alit.plots.style import SavedFigure, save, style
from alit.plots.training import training_curves, training_curves_alt
from alit.plots.tsc_toi import (
    criteria_for_task,
    criteria_for_task_alt,
    task_limits,
    tasks_by_capacity,
    tasks_by_capacity_alt,
    tasks_under_criterion,
    tasks_under_criterion_alt,
)

__all__ = [
    "SavedFigure",
    "attention_lead",
    "attention_lead_alt",
    "attention_maps",
    "attention_maps_alt",
    "attention_overlap",
    "attention_overlap_alt",
    "attention_sparsity",
    "attention_sparsity_alt",
    "closest_pairs",
    "closest_pairs_alt",
    "codebook_usage",
    "codebook_usage_alt",
    "codebook_use",
    "codebook_use_alt",
    "complexity_correlations",
    "complexity_correlations_alt",
    "controlled_complexity",
    "controlled_complexity_alt",
    "cost_by_length",
    "cost_by_length_alt",
    "criteria_for_task",
    "criteria_for_task_alt",
    "detection",
    "detection_alt",
    "drop_by_strength",
    "drop_by_strength_alt",
    "familiarity_gaps",
    "familiarity_gaps_alt",
    "kept_tokens",
    "kept_tokens_alt",
    "length_by_complexity",
    "length_by_complexity_alt",
    "loss_by_complexity",
    "loss_by_complexity_alt",
    "nearest_images",
    "nearest_images_alt",
    "one_pass_or_many",
    "one_pass_or_many_alt",
    "paired_changes",
    "paired_changes_alt",
    "partial_correlations",
    "partial_correlations_alt",
    "performance_by_strength",
    "performance_by_strength_alt",
    "probe_by_iteration",
    "probe_by_iteration_alt",
    "probe_by_latents",
    "probe_by_latents_alt",
    "probe_grids",
    "probe_grids_alt",
    "rate_distortion",
    "rate_distortion_alt",
    "rate_distortion_by_bits",
    "rate_distortion_by_bits_alt",
    "realised_gains",
    "realised_gains_alt",
    "save",
    "selected_lengths",
    "selected_lengths_alt",
    "style",
    "task_limits",
    "tasks_by_capacity",
    "tasks_by_capacity_alt",
    "tasks_under_criterion",
    "tasks_under_criterion_alt",
    "training_curves",
    "training_curves_alt",
]
