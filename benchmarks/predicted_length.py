"""What predicting an image's length costs: `python benchmarks/predicted_length.py [-o FILE]`.

`encode(until=PredictedLoss(...))` against `encode(length=...)` of the same lengths: networks of a profile with random
weights, 32 images, for each length all images at it, and as many for each at once. The regression runs as a fitted one
does, and its answer is replaced by the planned length. Ratios of times are of rounds by turns on one thread, those of
FLOPs are exact. Exits with 1 beyond the bar.
"""

from common import gigaflops, machine, ratio, read_profile, sizes_of, take_turns, write_result  # isort: skip - before torch

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alit.errors import run_command
from alit.tokenizer.length_predictor import (
    Examples,
    LengthPredictor,
    PredictedLoss,
    first_iteration,
    fit_length_predictor,
)
from alit.tokenizer.tokenizer import AdaptiveTokenizer

IMAGES, CALIBRATION = 32, 2000
MOST = 1.3  # cost / cost of a fixed length


@dataclass(frozen=True)
class Planned(LengthPredictor):
    """Costs what a fitted predictor costs, and answers that images get the planned lengths."""

    plan: Tensor  # (images,) position of each image's length

    def predict(self, known: Tensor) -> Tensor:
        """Return 0 from the planned length on, 1 before."""
        losses = super().predict(known)
        return (torch.arange(losses.shape[1]) < self.plan[:, None]).float()

    def margin(self, promise: PredictedLoss) -> float:
        """Return 0, after what a margin takes."""
        return 0.0 * max(super().margin(promise), -1.0)


def predictor_of(tokenizer: AdaptiveTokenizer) -> LengthPredictor:
    """Return a predictor that was fitted to noise."""
    generator = np.random.default_rng(0)
    size = tokenizer.image_size
    with torch.no_grad():
        known = first_iteration(tokenizer, torch.rand(1, 3, size, size)).features.shape[1]
    features = generator.normal(size=(CALIBRATION, known)).astype(np.float32)
    examples = Examples(features, generator.uniform(0.05, 0.2, (len(features), len(tokenizer.lengths))))
    options = {"tokenizer": tokenizer.fingerprint, "lengths": tokenizer.lengths, "data": "noise", "seed": 0}
    return fit_length_predictor(examples, **options)


def encodings(profile: str) -> dict[str, Callable[[], object]]:
    """Return the calls to compare: for each length, and for all of them mixed, "predicted ..." and "fixed ..."."""
    tokenizer = AdaptiveTokenizer(read_profile(profile).tokenizer).eval()
    size, lengths = tokenizer.image_size, tokenizer.lengths
    images = torch.rand(IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    plans = {str(length): torch.full((IMAGES,), place) for place, length in enumerate(lengths)}
    plans["mixed"] = torch.arange(IMAGES) % len(lengths)
    fitted = predictor_of(tokenizer)

    def predicted(plan: Tensor) -> None:
        tokenizer.length_predictor = Planned(fitted.record, fitted.tensors, plan)
        found = tokenizer.encode(images, until=PredictedLoss(l1=0.1, confidence=0.9), batch_size=IMAGES)
        assert found.lengths.tolist() == [lengths[place] for place in plan.tolist()]

    def fixed(plan: Tensor) -> None:
        for place in plan.unique().tolist():
            tokenizer.encode(images[plan == place], length=lengths[place], batch_size=IMAGES)

    calls: dict[str, Callable[[], object]] = {}
    for name, plan in plans.items():
        calls[f"predicted {name}"] = lambda plan=plan: predicted(plan)
        calls[f"fixed {name}"] = lambda plan=plan: fixed(plan)
    return calls


def compare(profile: str, rounds: int) -> dict[str, Any]:
    """Return the ratios of FLOPs, and of times where there are rounds, by length."""
    calls = encodings(profile)
    names = [name.removeprefix("fixed ") for name in calls if name.startswith("fixed ")]
    flops = {name: gigaflops(call) for name, call in calls.items()}
    found: dict[str, Any] = {
        "networks": sizes_of(read_profile(profile).tokenizer),
        "flops": {name: round(flops[f"predicted {name}"] / flops[f"fixed {name}"], 3) for name in names},
    }
    if rounds:
        seconds = take_turns(calls, rounds)
        found["rounds"] = rounds
        found["time"] = {name: ratio(seconds[f"predicted {name}"], seconds[f"fixed {name}"]) for name in names}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write, and compare with the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", nargs="+", default=["imagenette"], help="whose networks to time")
    parser.add_argument("--rounds", type=int, default=5, help="repeats of each call (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    profiles = {name: compare(name, arguments.rounds) for name in arguments.profiles}
    result = {
        "command": "python benchmarks/predicted_length.py",
        "images": IMAGES,
        "machine": machine(),
        "bar": MOST,
        "profiles": profiles,
    }
    write_result(result, arguments.output)
    ratios = [each for found in profiles.values() for each in found["flops"].values()]
    ratios += [each["cpu"]["median"] for found in profiles.values() for each in found.get("time", {}).values()]
    sys.exit(1 if max(ratios) > MOST else 0)


if __name__ == "__main__":
    run_command(main)
