"""Where the time of encoding goes on a CPU: `python benchmarks/operators.py [-o FILE]`.

Shares of torch's operators, by its profiler on one thread, in encoding one batch until its last length and in
learning from it, untrained networks.
"""

from measure import machine  # isort: skip - before torch

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from choices import IMAGES, learn, tokenizer_config
from networks import sizes_of
from output import tell
from torch.profiler import ProfilerActivity, profile

from alit.errors import run_command
from alit.tokenizer.encoding import ReconstructionLoss
from alit.tokenizer.tokenizer import AdaptiveTokenizer

KINDS = {  # part of an operator's name -> what it is; the first that fits
    "convolution": "convolutions",
    "scaled_dot_product": "attention",
    "addmm": "matrix products",
    "aten::mm": "matrix products",
    "bmm": "matrix products",
    "norm": "normalization",
    "silu": "activations",
    "gelu": "activations",
    "tanh": "activations",
    "softmax": "activations",
    "aten::cat": "concatenation",
    "copy_": "copies",
}
SMALLEST = 0.0005  # a share below which an operator is not worth a number


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Return the share of each kind of operator in the CPU time of a call, largest first; a call before warms up."""
    call()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        kind = next((kind for part, kind in KINDS.items() if part in event.key), "everything else")
        times[kind] += event.self_cpu_time_total
    found = {kind: round(time / times.total(), 3) for kind, time in times.most_common()}
    return {kind: share for kind, share in found.items() if share > SMALLEST}


def measure(size: str) -> dict[str, dict[str, float]]:
    """Return the shares for encoding and learning at one size."""
    tokenizer = AdaptiveTokenizer(tokenizer_config(size)).eval()
    images = torch.rand(IMAGES[size], 3, tokenizer.image_size, tokenizer.image_size)
    return {
        "encode until, to the end": shares(partial(tokenizer.encode, images, until=ReconstructionLoss(l1=0.0))),
        "learn": shares(partial(learn, tokenizer, images[: max(1, len(images) // 4)])),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=IMAGES, default=list(IMAGES))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "command": "python benchmarks/operators.py",
        "machine": machine(),
        "networks": {size: sizes_of(tokenizer_config(size)) for size in arguments.sizes},
        "share_of_cpu_time": {size: measure(size) for size in arguments.sizes},
    }
    tell(result, arguments.output)


if __name__ == "__main__":
    run_command(main)
