"""Schedules: pure functions of the step, counted from zero."""

import math

from alit.config.s_finetune import FinetuneTrainingConfig
from alit.config.s_optim import OptimisationConfig


def learning_rate(step: int, config: OptimisationConfig) -> float:
    """Return a step's learning rate: linear warm-up to the peak, then a cosine to zero at `config.steps`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def unlocked_iterations(step: int, steps: int, iterations: int, share: float) -> int:
    """Return how many iterations may be supervised at a step.

    The first is open from the start, the last from `share` of the run, the others evenly in between; a share
    of zero opens all at once, as published. A deviation: small models learn nothing from eight at once.
    """
    opening = share * steps
    if step >= opening:
        return iterations
    return 1 + math.floor((iterations - 1) * step / opening)


def switch_step(steps: int, continuous_share: float) -> int:
    """Return the first step at which latents pass through the quantizer."""
    return round(steps * continuous_share)


def adversarial_weight(step: int, steps: int, config: FinetuneTrainingConfig) -> float:
    """Return the adversary's weight: none, then a part of it, then all (published-code facts, 2.10)."""
    if step < config.adversarial_start * steps:
        return 0.0
    if step < config.adversarial_full * steps:
        return config.adversarial_weight * config.adversarial_early_factor
    return config.adversarial_weight
