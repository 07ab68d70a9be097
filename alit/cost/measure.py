"""Measuring operations: time in interleaved rounds, floating-point operations, and memory of live tensors."""

import math
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from alit.cost.operations import Operation, operations
from alit.tokenizer.protocol import Tokenizer

GIGA, MEBI = 1e9, 2**20


class CostTables(NamedTuple):
    """What one image costs.

    Attributes:
        counts: one row per tokenizer, operation and length: tokenizer, operation, iteration, length, gflop (two
            operations a multiply-add), peak_mib, parameters; the last three are null for what is no torch module.
        times: one row per tokenizer, operation, length and image: tokenizer, operation, iteration, length, image,
            seconds.
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


def seconds_of(operation: Operation, images: Tensor) -> float:
    """Return the time that an operation takes on images (b, 3, h, w), until its device has finished."""
    prepared = operation.prepare(images)
    _wait_for(images.device)
    start = time.perf_counter()
    operation.run(prepared)
    _wait_for(images.device)
    return time.perf_counter() - start


def gigaflop(operation: Operation, images: Tensor) -> float:
    """Return the floating-point operations on images (b, 3, h, w) in units of 1e9, by torch's counter."""
    prepared = operation.prepare(images)
    counter = FlopCounterMode(display=False)
    with counter:
        operation.run(prepared)
    return counter.get_total_flops() / GIGA


def peak_mebibytes(operation: Operation, images: Tensor) -> float:
    """Return the most memory in MiB of tensors that an operation makes and that are alive at once."""
    prepared = operation.prepare(images)
    with LiveTensors() as live:
        operation.run(prepared)
    return live.peak / MEBI


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors made within the block that are alive: the same on any machine.

    Weights, inputs, and what a kernel needs for itself while it runs, are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count the storage of its results."""
        tree_map_only(Tensor, lambda tensor: self._known.add(tensor.untyped_storage()._cdata), (args, kwargs))
        result = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.alive -= size


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


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
