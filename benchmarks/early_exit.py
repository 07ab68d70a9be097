"""What images that need few tokens save in a batch with others: `python benchmarks/early_exit.py [-o FILE]`.

64 images, random weights, as many images for each of the lengths, `encode(until=...)` with a criterion that costs what
`ReconstructionLoss` costs. Time is compared with what each image needs alone, which is its share of a batch of the
same size whose images all need as many tokens, and with the same images all running to the end. Takes two minutes on a
CPU; exits with 1 beyond the bars. FLOPs are those of the timed calls, and of one image a length at the published size.
"""

from common import (  # isort: skip - before torch
    Seconds,
    gigaflops,
    machine,
    ratio,
    read_profile,
    sizes_of,
    take_turns,
    write_result,
)

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alit.errors import run_command
from alit.tokenizer.encoding import ReconstructionLoss, Rollout
from alit.tokenizer.tokenizer import AdaptiveTokenizer

IMAGES = 64
MOST_OVER_ALONE = 1.15  # time of the mixed batch / sum of what each image needs alone
LEAST_GAIN = 1.6  # throughput of the mixed batch / throughput where every image runs to the end
PUBLISHED = "paper"


class Planned:
    """Costs what `ReconstructionLoss` costs, and is satisfied at the iteration that an image's first number plans."""

    sees_image_tokens = False

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        self.loss = ReconstructionLoss(l1=1.0)

    def __call__(self, images: Tensor, rollout: Rollout) -> Tensor:
        """Return (b,) bool."""
        self.loss(images, rollout)
        return rollout.iteration >= (images[:, 0, 0, 0] * self.iterations).round()


def planned_images(size: int, plan: Tensor, iterations: int) -> Tensor:
    """Return noise images whose first numbers plan their iterations (b,)."""
    images = torch.rand(len(plan), 3, size, size, generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0] = plan / iterations
    return images


def encodings(profile: str, count: int) -> dict[str, Callable[[], object]]:
    """Return the calls to compare: "mixed" lengths, all to the "end", and for each iteration all to that one."""
    config = read_profile(profile).tokenizer
    tokenizer = AdaptiveTokenizer(config).eval()
    last = config.iterations
    plans = {"mixed": torch.arange(count) % last + 1, "end": torch.full((count,), last)}
    plans |= {f"alone {t}": torch.full((count,), t) for t in range(1, last + 1)}
    return {
        name: partial(
            tokenizer.encode,
            planned_images(config.image_size, plan, last),
            until=Planned(last),
            batch_size=count,
        )
        for name, plan in plans.items()
    }


def compare(profile: str, rounds: int) -> dict[str, Any]:
    """Return the ratios of times and of FLOPs for one profile's networks."""
    calls = encodings(profile, IMAGES)
    seconds = take_turns(calls, rounds)
    alone = [taken for name, taken in seconds.items() if name.startswith("alone")]
    each_alone = Seconds(*np.array(alone).mean(axis=0))
    return {
        "networks": sizes_of(read_profile(profile).tokenizer),
        "rounds": rounds,
        "mixed_seconds": round(float(np.median(seconds["mixed"].wall)), 3),
        "time_over_each_alone": ratio(seconds["mixed"], each_alone),
        "gain_over_all_to_the_end": ratio(seconds["end"], seconds["mixed"]),
        "flops": compare_flops(calls),
    }


def compare_flops(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the same ratios of FLOPs, where nothing but the work itself counts."""
    flops = {name: gigaflops(call) for name, call in calls.items()}
    alone = [value for name, value in flops.items() if name.startswith("alone")]
    return {
        "over_each_alone": round(flops["mixed"] / (sum(alone) / len(alone)), 4),
        "gain_over_all_to_the_end": round(flops["end"] / flops["mixed"], 3),
    }


def published_gain() -> float:
    """Return the ratio of FLOPs, all to the end over mixed, at the published size: one image for each length."""
    config = read_profile(PUBLISHED).tokenizer
    calls = encodings(PUBLISHED, config.iterations)
    one = encodings(PUBLISHED, 1)  # whose only image runs to the end
    return round(config.iterations * gigaflops(one["end"]) / gigaflops(calls["mixed"]), 3)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", nargs="+", default=["cpu", "imagenette"], help="whose networks to time")
    parser.add_argument("--rounds", type=int, default=9, help="repeats of each call (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    profiles = {name: compare(name, arguments.rounds) for name in arguments.profiles}
    result = {
        "command": "python benchmarks/early_exit.py",
        "images": IMAGES,
        "machine": machine(),
        "bars": {"time_over_each_alone": MOST_OVER_ALONE, "gain_over_all_to_the_end": LEAST_GAIN},
        "profiles": profiles,
        "flops_gain_at_published_size": published_gain() if PUBLISHED in arguments.profiles else None,
    }
    write_result(result, arguments.output)
    over = [p for p in profiles.values() if p["time_over_each_alone"]["wall"]["median"] > MOST_OVER_ALONE]
    under = [p for p in profiles.values() if p["gain_over_all_to_the_end"]["wall"]["median"] < LEAST_GAIN]
    sys.exit(1 if over or under else 0)


if __name__ == "__main__":
    run_command(main)
