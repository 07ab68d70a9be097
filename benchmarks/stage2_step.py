"""What a step of stage 2 saves against a naive one: `python benchmarks/stage2_step.py [-o FILE]`.

A step supervises one iteration. alit's rolls out that far, and its discriminator steps build no graph of the
generator. The naive form, which is only here, rolls all iterations out with gradients, in the discriminator's steps
too, and holds their results until the step is over, as the published code does. Over one step at each iteration:

- with a profile's networks, time in one process, by turns, and the peak of resident memory in a process of its own for
  each form and player;
- at the published size, on tensors without contents: FLOPs, and the peak of live tensors, gradients among them. Without
  the perceptual network, which costs the same in both forms.
"""

from common import (  # isort: skip - before torch
    gigaflops,
    machine,
    ratio,
    read_profile,
    sizes_of,
    take_turns,
    write_result,
)

import argparse
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import psutil
import torch
from memory import peak_bytes
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from alit.config import Profile
from alit.errors import run_command
from alit.models.base import BaseTokens
from alit.models.distillation import Distillation, Distilled
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.tasks.perceptual import build_trunk
from alit.tokenizer.cost import LiveTensors
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training import finetune
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, frozen_tokens

PLAYERS = "generator", "discriminator"
PUBLISHED_SHARE = 12  # images of a process: 96 on 8 GPUs


class NaiveGenerator(finetune.GeneratorLoss):
    """A generator that rolls out every iteration and keeps all of them."""

    held: tuple[object, ...] = ()  # what the latest step yielded; its graph lives as long

    def forward(self, *inputs: Any) -> finetune.GeneratorOutput:
        """Return the losses of one iteration after a rollout to the end."""
        with patch.object(finetune, "distill_at", self.roll_out):
            return super().forward(*inputs)

    def reconstruct(self, images: Tensor, iteration: int) -> Tensor:
        """Return the reconstruction for the discriminator, with the graph held."""
        base = self.tokenizer.base
        encoded = base.encode(images)
        tokens = frozen_tokens(encoded.features, encoded.ids, base.codebook)
        step = self.roll_out(self.tokenizer.distillation, images, tokens, base.codebook, iteration, decode=(iteration,))
        assert step.prediction is not None
        reconstruction = base.decode(step.prediction.codes)
        self.held = (*self.held, reconstruction)
        return reconstruction.detach()

    def roll_out(
        self,
        distillation: Distillation,
        images: Tensor,
        tokens: BaseTokens,
        codebook: Tensor | None,
        iteration: int,
        *,
        decode: tuple[int, ...],
    ) -> Distilled:
        """Stand in for `alit.training.distill.distill_at`: all iterations, with their image tokens."""
        self.held = ()
        self.held = tuple(distillation.iterate(images, tokens, codebook, decode=decode))
        return self.held[iteration - 1]


GENERATORS = {"ours": finetune.GeneratorLoss, "naive": NaiveGenerator}


class NoiseImages:
    """As many noise images as a benchmark needs."""

    packed = True

    def __init__(self, count: int, size: int) -> None:
        self.tensor = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.manifest = pd.DataFrame({"image_id": range(count)})

    def __len__(self) -> int:
        return len(self.tensor)

    def images(self, indices: Tensor) -> Tensor:
        """Return images (b, 3, h, w) in [0, 1]."""
        return self.tensor[indices]


def finetune_stage(profile: Profile, discriminator_steps: int) -> finetune.FinetuneStage:
    """Return a profile's stage 2 with an adversary from the first step on."""
    changes = {"adversarial_start": 0.0, "adversarial_full": 0.0, "discriminator_steps": discriminator_steps}
    config = profile.finetune.model_copy(update=changes)
    return finetune.FinetuneStage(
        AdaptiveTokenizer(profile.tokenizer).train(),
        PatchDiscriminator(config.discriminator_channels, config.discriminator_layers),
        PerceptualDistance(build_trunk(profile.perceptual_trunk)),
        NoiseImages(4 * config.optimization.batch_size, profile.tokenizer.image_size),
        config,
        augmentation=Augmentation(False, 1.0),
        fabric=build_fabric("cpu", 1),
        seed=0,
    )


def new_stage(profile: str, form: str, player: str) -> finetune.FinetuneStage:
    """Return stage 2 of a profile whose generator has a form, for the steps of one player."""
    with patch.object(finetune, "GeneratorLoss", GENERATORS[form]):
        return finetune_stage(read_profile(profile), discriminator_steps=int(player == "discriminator"))


def play(stage: finetune.FinetuneStage, player: str) -> None:
    """Take one player's step at each iteration."""
    for step in range(stage.iterations):
        if player == "generator":
            stage.step(step)
        else:
            stage._train_discriminator(step, step + 1)


def peak_megabytes(profile: str, form: str, player: str) -> float:
    """Return what a process of its own needs at most during the steps, above what it holds before them, in MB."""
    command = [sys.executable, __file__, "--profile", profile, "--measure", form, player]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(found.stdout.splitlines()[-1])


def measure_memory(profile: str, form: str, player: str) -> float:
    """Return the peak in this process, in MB."""
    stage = new_stage(profile, form, player)
    before = psutil.Process().memory_info().rss
    play(stage, player)
    return (peak_bytes() - before) / 1e6


def compare(profile: str, rounds: int) -> dict[str, Any]:
    """Return the naive form's time, FLOPs and memory over ours, for each player's step."""
    memory = {(form, player): peak_megabytes(profile, form, player) for form in GENERATORS for player in PLAYERS}
    stages = {(form, player): new_stage(profile, form, player) for form in GENERATORS for player in PLAYERS}
    calls = {key: partial(play, stage, key[1]) for key, stage in stages.items()}
    iterations = stages["ours", "generator"].iterations
    seconds = take_turns(calls, rounds)
    result = {}
    for player in PLAYERS:
        ours, naive = ("ours", player), ("naive", player)
        result[player] = {
            "milliseconds_a_step": round(1000 * float(np.median(seconds[ours].wall)) / iterations),
            "naive_time_over_ours": ratio(seconds[naive], seconds[ours]),
            "peak_megabytes": {form: round(memory[form, player]) for form in GENERATORS},
            "naive_memory_over_ours": round(memory[naive] / memory[ours], 2),
        }
    return result


def count_published(form: str) -> dict[str, dict[str, float]]:
    """Return GFLOP and peak GB of each player's step at the published size, for a process's share of the batch.

    The discriminator's own passes in its step are left out: they are the same in both forms.
    """
    profile = read_profile("paper")
    config = profile.finetune
    with torch.device("meta"):
        discriminator = PatchDiscriminator(config.discriminator_channels, config.discriminator_layers)
        generator = GENERATORS[form](AdaptiveTokenizer(profile.tokenizer).train(), None, config)
    flops: dict[str, list[float]] = {player: [] for player in PLAYERS}
    peaks: dict[str, list[float]] = {player: [] for player in PLAYERS}
    with FakeTensorMode(allow_non_fake_inputs=True):
        generator.to_empty(device="cpu")
        discriminator.to_empty(device="cpu")
        images = torch.empty(PUBLISHED_SHARE, 3, profile.tokenizer.image_size, profile.tokenizer.image_size)
        for iteration in range(1, profile.tokenizer.iterations + 1):
            learning = partial(learn, generator, images, iteration, discriminator)
            judging = partial(generator.reconstruct, images, iteration)
            for player, step in zip(PLAYERS, (learning, judging), strict=True):
                with LiveTensors() as live:
                    flops[player].append(gigaflops(step))
                peaks[player].append(live.peak / 1e9)
                generator.zero_grad()
    return {
        player: {
            "gigaflop": round(float(np.mean(flops[player]))),
            "mean_peak_gb": round(float(np.mean(peaks[player])), 1),
            "largest_peak_gb": round(max(peaks[player]), 1),
        }
        for player in PLAYERS
    }


def learn(generator: finetune.GeneratorLoss, images: Tensor, iteration: int, opponent: PatchDiscriminator) -> None:
    """Take a generator's step up to its gradients."""
    generated = generator(images, iteration, opponent)
    (generated.l1 + generated.quantizer + generated.balance * generated.adversarial).backward()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="cpu", help="whose networks and batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repeats of each call (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("FORM", "PLAYER"), help=argparse.SUPPRESS)  # own process
    arguments = parser.parse_args(argv)
    if arguments.measure:
        print(measure_memory(arguments.profile, *arguments.measure))
        return
    result = {
        "command": "python benchmarks/stage2_step.py",
        "networks": sizes_of(read_profile(arguments.profile).tokenizer),
        "rounds": arguments.rounds,
        "machine": machine(),
        "players": compare(arguments.profile, arguments.rounds),
        "published_size": {form: count_published(form) for form in GENERATORS},
    }
    write_result(result, arguments.output)


if __name__ == "__main__":
    run_command(main)
