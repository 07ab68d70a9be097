"""`alit bench`: what encoding and decoding cost on this machine."""

import argparse
import json
from typing import Any

import torch
from tqdm import tqdm

from alit.cli.arguments import add_device, load_tokenizer, positive_integer, to_device
from alit.cli.info import describe_tokenizer
from alit.cost.lengths import LengthCost, measure_lengths
from alit.tokenizer.published import SIZES, published_config
from alit.tokenizer.tokenizer import AdaptiveTokenizer

HEADINGS = ("tokens", "bits", "encode ms", "decode ms", "encode GFLOP", "decode GFLOP", "images/s", "peak MiB")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench", help="what encoding and decoding cost on this machine", description=run.__doc__
    )
    parser.set_defaults(run=run)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("model", nargs="?", help="folder or hub id of a checkpoint")
    which.add_argument("--size", choices=list(SIZES), help="a published size of 256 px, with random weights, instead")
    parser.add_argument("--batch-size", type=positive_integer, default=1, help="images at once (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=positive_integer, default=3, help="timed runs; their median counts (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure each length: milliseconds, bits and GFLOP (two per multiply-add) of an image, images encoded a second.

    The peak is the memory in MiB of the tensors that are alive at once for the whole batch, beside the weights.
    """
    if arguments.model is None:
        tokenizer = to_device(AdaptiveTokenizer(published_config(arguments.size)), arguments.device)
    else:
        tokenizer = load_tokenizer(arguments.model, arguments.device)
    shape = (arguments.batch_size, 3, tokenizer.image_size, tokenizer.image_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(tokenizer.device)
    lengths = measure_lengths(tokenizer, images, rounds=arguments.rounds)
    costs = list(tqdm(lengths, total=len(tokenizer.lengths), unit="length", disable=None))
    settings = {"batch_size": arguments.batch_size, "rounds": arguments.rounds, **describe_machine(tokenizer.device)}
    if arguments.json:
        what = {"model": arguments.model or f"{arguments.size}, random weights"}
        print(json.dumps({**what, **settings, "lengths": [cost._asdict() for cost in costs]}, indent=2))
        return
    print(describe_tokenizer(tokenizer))
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    print(table(costs))


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what the times depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def table(costs: list[LengthCost]) -> str:
    """Return lengths as lines of right-aligned columns."""
    rows = [HEADINGS, *(tuple(map(_format, cost)) for cost in costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _format(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}" if value < 1000 else f"{value:.0f}"
