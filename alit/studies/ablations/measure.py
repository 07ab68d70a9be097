"""What a trained variant costs: encoding and decoding at each length, and what its training took."""

import json
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from alit.settings import Settings, parse_settings
from alit.tokenizer.cost import DECODE, ENCODE, GIGA, gigaflop, operations
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.distill import (
    NAME,
    DistillObjective,
    DistillTrainingConfig,
    choose_iterations,
    unlocked_iterations,
)
from alit.training.engine.checkpoint import TRAINING_FILE
from alit.training.engine.fabric import derive_generator
from alit.training.engine.loader import encode_frozen

VariedFactor = Literal[
    "continuous", "width", "depth", "steps", "data", "stage 2", "halting", "curriculum", "recurrence", "fixed length"
]


class ComparisonConfig(Settings):
    """A question to two variants that differ in one respect."""

    factor: VariedFactor  # the respect; the claims look for it
    variant: str  # the one that is said to be better
    than: str


class AblationsConfig(Settings):
    """What is asked of the variants."""

    comparisons: tuple[ComparisonConfig, ...]
    images: PositiveInt  # of the first evaluation set, at most


def variant_costs(
    tokenizer: AdaptiveTokenizer, config: DistillTrainingConfig, image: Tensor, seed: int
) -> pd.DataFrame:
    """Return one row per length: length, encode_gflop, decode_gflop, parameters, visits, training_tflop.

    Args:
        tokenizer: as trained.
        config: of its stage 1.
        image: (1, 3, h, w) in [0, 1], to count operations on; they do not depend on what it shows.
        seed: of its training, which draws the iterations that each step supervises.

    `parameters` leaves the base tokenizer out; `visits` counts images seen in stage 1 and `training_tflop` its
    operations, forward and backward.
    """
    with torch.no_grad():
        counted = {
            (operation.name, operation.length): gigaflop(operation, image) for operation in operations(tokenizer)
        }
    visits = config.optimization.steps * config.optimization.batch_size
    training = config.optimization.batch_size * stage_1_gigaflop(tokenizer, config, image, seed) / 1e3
    return pd.DataFrame(
        {
            "length": tokenizer.lengths,
            "encode_gflop": [counted[ENCODE, length] for length in tokenizer.lengths],
            "decode_gflop": [counted[DECODE, length] for length in tokenizer.lengths],
            "parameters": sum(weight.numel() for weight in tokenizer.distillation.parameters()),
            "visits": visits,
            "training_tflop": training,
        }
    )


def read_stage_1(folder: Path) -> DistillTrainingConfig:
    """Return the settings of stage 1 that a finished training was made with."""
    path = folder / TRAINING_FILE
    return parse_settings(DistillTrainingConfig, json.loads(path.read_text())["training"], source=str(path))


def stage_1_gigaflop(tokenizer: AdaptiveTokenizer, config: DistillTrainingConfig, image: Tensor, seed: int) -> float:
    """Return the operations of stage 1 per image of a batch, in units of 1e9: its steps as their schedule has them.

    Forward and backward passes of what each step supervises; base tokens come from a cache and count nothing.
    """
    objective = DistillObjective(tokenizer.distillation, config)
    base_tokens = encode_frozen(tokenizer.base, image)
    generator = torch.Generator(image.device).manual_seed(0)  # halting's draws change no count

    @cache
    def counted(iterations: tuple[int, ...]) -> float:
        counter = FlopCounterMode(display=False)
        with torch.enable_grad(), counter:
            losses = objective(image, base_tokens, tokenizer.base.codebook, iterations, True, generator)
            losses.total.backward()
        objective.zero_grad(set_to_none=True)
        return counter.get_total_flops() / GIGA

    total = 0.0
    for step in range(config.optimization.steps):
        unlocked = unlocked_iterations(
            step, config.optimization.steps, tokenizer.config.iterations, config.unlock_share
        )
        drawn = derive_generator(seed, NAME, "iterations", step)
        total += counted(choose_iterations(unlocked, config.supervised_iterations, drawn))
    return total
