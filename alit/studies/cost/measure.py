"""Measuring operations: time in interleaved rounds, floating-point operations, and memory of live tensors."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from tqdm import tqdm

from alit.settings import Settings
from alit.tokenizer.cost import Operation, gigaflop, operations, peak_mebibytes, seconds_of
from alit.tokenizer.protocol import Tokenizer


class CostConfig(Settings):
    """Timing, one image at a time."""

    images: PositiveInt  # each is one round: every tokenizer, operation and length once, in turn
    threads: PositiveInt  # on a CPU


class CostTables(NamedTuple):
    """What one image costs.

    `counts` has one row per tokenizer, operation and length: tokenizer, operation, iteration, length, gflop (two
    operations a multiply-add), peak_mib, parameters; the last three are null for what is no torch module. `times` has
    one row per tokenizer, operation, length and image: tokenizer, operation, iteration, length, image, seconds.
    """

    counts: pd.DataFrame
    times: pd.DataFrame


@torch.no_grad()
def measure_cost(tokenizers: Mapping[str, Tokenizer], images: Tensor) -> CostTables:
    """Measure every operation of every tokenizer on single images.

    Each image is one round: all operations once, one after another, so that a machine that slows down for a while
    slows all of them. A round that is not counted goes first.

    Args:
        tokenizers: on the images' device, in eval mode.
        images: (rounds, 3, h, w) float32 in [0, 1].
    """
    work = [(name, operation) for name, tokenizer in tokenizers.items() for operation in operations(tokenizer)]
    counts = [
        {**_labels(name, operation), **_counted(tokenizers[name], operation, images[:1])} for name, operation in work
    ]
    times = []
    for image in tqdm(range(-1, len(images)), desc="cost", unit="round"):
        for name, operation in work:
            seconds = seconds_of(operation, images[max(image, 0)][None])
            if image >= 0:
                times.append({**_labels(name, operation), "image": image, "seconds": seconds})
    return CostTables(pd.DataFrame(counts), pd.DataFrame(times))


def _labels(name: str, operation: Operation) -> dict[str, Any]:
    return {
        "tokenizer": name,
        "operation": operation.name,
        "iteration": operation.iteration,
        "length": operation.length,
    }


def _counted(tokenizer: Tokenizer, operation: Operation, image: Tensor) -> dict[str, float]:
    """Count what torch sees; of a codec it sees next to nothing, which would read as if it cost nothing."""
    if not isinstance(tokenizer, nn.Module):
        return {"gflop": math.nan, "peak_mib": math.nan, "parameters": math.nan}
    return {
        "gflop": gigaflop(operation, image),
        "peak_mib": peak_mebibytes(operation, image),
        "parameters": float(sum(weight.numel() for weight in tokenizer.parameters())),
    }
