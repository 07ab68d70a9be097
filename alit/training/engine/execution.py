"""How a training step is computed, not what: in micro-batches, with activations computed twice, compiled, in TF32.

None of it changes what is trained beyond rounding. So no card, no resume state and no DVC stage depends on it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from alit.models.base import VAEDecoder, VAEEncoder, VQGANDecoder, VQGANEncoder
from alit.models.distillation import BatchRows
from alit.models.transformer import Block, Transformer
from alit.settings import Settings


class MicroBatchConfig(Settings):
    """The most images of a process that each stage computes at once; null computes its whole share of the batch."""

    base: PositiveInt | None = None
    distill: PositiveInt | None = None
    finetune: PositiveInt | None = None


class ExecutionConfig(Settings):
    """How trainings are computed on the machine at hand; variants too."""

    micro_batch: MicroBatchConfig = MicroBatchConfig()
    checkpoint_activations: bool = False  # of the transformers: less memory for one more forward pass
    # Processes of each loader that decode images ahead of time, on each device; stage 2 has two loaders.
    workers: NonNegativeInt = 0
    tf32: bool = False  # float32 products of matrices in TensorFloat-32, on GPUs that have it
    compile: bool = False  # by torch.compile: transformer blocks, base encoder and decoder


PLAIN = ExecutionConfig()
Parts = TypeVar("Parts", bound=tuple)  # a NamedTuple of tensors


def split_rows(size: int, most: int | None) -> list[BatchRows]:
    """Split a batch into as few parts of at most `most` rows as possible, whose sizes differ by at most one."""
    parts = 1 if most is None else math.ceil(size / most)
    bounds = [size * part // parts for part in range(parts + 1)]
    return [BatchRows(start, stop, size) for start, stop in itertools.pairwise(bounds)]


def join_parts(parts: Sequence[Parts], rows: Sequence[BatchRows], *, batched: Sequence[str] = ()) -> Parts:
    """Return what the whole batch would have given: means of means over images, and rows of the fields in `batched`.

    Args:
        parts: one NamedTuple for each part of the batch; a field that is None is so in all.
        rows: of each part.
        batched: fields with one row per image.
    """
    if len(parts) == 1:
        return parts[0]
    fields = type(parts[0])._fields  # type: ignore[attr-defined]
    joined = {}
    for name, values in zip(fields, zip(*parts, strict=True), strict=True):
        if values[0] is None:
            joined[name] = None
        elif name in batched:
            joined[name] = torch.cat(values)
        else:
            joined[name] = sum(part.share * value for part, value in zip(rows, values, strict=True))
    return type(parts[0])(**joined)


COMPILED = (Block, VQGANEncoder, VQGANDecoder, VAEEncoder, VAEDecoder)


def prepare_network(network: nn.Module, execution: ExecutionConfig) -> None:
    """Make a network's parts compute as the settings say, in place; names of weights stay."""
    for part in network.modules():
        if isinstance(part, Transformer):
            part.checkpoint_activations = execution.checkpoint_activations
        if execution.compile and isinstance(part, COMPILED):
            # Each iteration has a longer sequence: one program for all lengths, where torch would compile few and stop.
            part.compile(dynamic=True if isinstance(part, Block) else None)


def use_tf32(device: torch.device) -> None:
    """Let float32 products of matrices on a GPU round their inputs to TensorFloat-32, in the whole process.

    Convolutions do so anyway, by torch's default.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def detached(values: Parts) -> Parts:
    """Return a NamedTuple's tensors without their graphs, which would outlive the backward pass."""
    return type(values)(*(value.detach() if isinstance(value, Tensor) else value for value in values))
