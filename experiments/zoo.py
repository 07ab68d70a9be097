"""Keep a trained profile as a checkpoint of zoo/, with its logs and its card; run by hand, not by the pipeline."""

import argparse
import hashlib
import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from alit.config import load_profile
from alit.data.imageset import ImageSet, open_set
from alit.errors import run_command
from alit.models.base import BaseTokenizer
from alit.paths import RunPaths, project_root
from alit.report.card import Card, LengthScore, StageCost, card_text
from alit.tasks.images import round_to_8_bit
from alit.tokenizer import AdaptiveTokenizer
from alit.training.checkpoint import TRAINING_FILE, WEIGHTS_FILE, load_base, save_network
from alit.training.codebooks import perplexity
from alit.training.loop import LOG_FILE

BATCH = 64
STAGES = {"base": "base", "distill": "stage_1", "finetune": "."}  # stage -> folder of its log in the checkpoint


def main(argv: Sequence[str] | None = None) -> None:
    """Write `zoo/<name>/` from `runs/<profile>/`, trained from scratch."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("name", help="of the checkpoint, such as alit-scenes")
    parser.add_argument("--cores", type=int, default=1, help="that the training had; for its core-hours")
    arguments = parser.parse_args(argv)
    paths = RunPaths(project_root(), arguments.profile)
    folder = paths.root / "zoo" / arguments.name
    pack(paths, folder)
    card = assess(folder, paths, arguments.cores)
    (folder / "card.json").write_text(json.dumps(plain_card(card), indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card_text(card), encoding="utf-8")


def pack(paths: RunPaths, folder: Path) -> None:
    """Copy networks, as 16-bit floats, settings and logs of the three stages."""
    shutil.rmtree(folder, ignore_errors=True)
    AdaptiveTokenizer.from_pretrained(paths.tokenizer).half().save_pretrained(folder)
    (folder / "base").mkdir()
    base = load_base(paths.base)
    save_network(base.half(), base.config, folder / "base")
    for source, name in zip((paths.base, paths.distilled, paths.tokenizer), STAGES.values(), strict=True):
        (folder / name).mkdir(exist_ok=True)
        for file in (LOG_FILE, TRAINING_FILE):
            shutil.copyfile(source / file, folder / name / file)


def assess(folder: Path, paths: RunPaths, cores: int) -> Card:
    """Measure a packed checkpoint on the profile's validation images and gather what its card says."""
    sets = load_profile(paths.config).data.sets
    train = next(part for part in sets if part.role == "train")
    images = open_set(paths.data / next(part.name for part in sets if part.role == "evaluate"))
    settings = {stage: json.loads((folder / name / TRAINING_FILE).read_text()) for stage, name in STAGES.items()}
    logs = {stage: pd.read_csv(folder / name / LOG_FILE).iloc[-1] for stage, name in STAGES.items()}
    scores, usage = measure(AdaptiveTokenizer.from_pretrained(folder), images)
    weights = [WEIGHTS_FILE, f"base/{WEIGHTS_FILE}"]
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    return Card(
        name=folder.name,
        profile=paths.profile,
        commit=head.stdout.strip(),
        data=f"{train.path or 'embedded scenes'}, split {train.split}",
        validation=images.name,
        images=len(images),
        settings=settings,
        costs=[StageCost(stage, int(log["images"]), log["seconds"] * cores / 3600) for stage, log in logs.items()],
        base=measure_base(load_base(folder / "base"), images),
        scores=scores,
        perplexity=usage,
        sha256={file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in weights},
    )


@torch.no_grad()
def measure(tokenizer: AdaptiveTokenizer, images: ImageSet) -> tuple[list[LengthScore], float]:
    """Return the mean L1 at every length, and the perplexity of the latent codes at the longest."""
    sums, ids = dict.fromkeys(tokenizer.lengths, 0.0), []
    for rows in tqdm(np.array_split(np.arange(len(images)), math.ceil(len(images) / BATCH)), unit="batch"):
        batch = images.images(rows)
        for step in tokenizer.rollout(batch, image_tokens=False):
            assert step.reconstruction is not None
            sums[step.length] += summed_l1(step.reconstruction, batch)
        ids.append(step.ids)
    size = tokenizer.config.distillation.latent_codebook_size
    scores = [LengthScore(k, k * tokenizer.bits_per_token, total / len(images)) for k, total in sums.items()]
    return scores, float(perplexity(torch.cat(ids), size))


@torch.no_grad()
def measure_base(base: BaseTokenizer, images: ImageSet) -> LengthScore:
    """Return the mean L1 of the base tokenizer alone."""
    total, tokens = 0.0, 0
    for rows in np.array_split(np.arange(len(images)), math.ceil(len(images) / BATCH)):
        batch = images.images(rows)
        codes = base.encode(batch).codes
        tokens = codes.shape[1]
        total += summed_l1(base.decode(codes), batch)
    assert base.config.codebook_size is not None
    return LengthScore(tokens, tokens * math.log2(base.config.codebook_size), total / len(images))


def summed_l1(reconstruction: torch.Tensor, images: torch.Tensor) -> float:
    """Return the sum over images (b, 3, h, w) of their mean absolute errors, reconstructions as a file holds them."""
    return float((round_to_8_bit(reconstruction.clamp(0, 1)) - images).abs().mean(dim=(1, 2, 3)).sum())


def plain_card(card: Card) -> dict[str, Any]:
    """Return a card as plain data for JSON."""
    lists = {"costs": [cost._asdict() for cost in card.costs], "scores": [score._asdict() for score in card.scores]}
    return {**card._asdict(), **lists, "base": card.base._asdict()}


if __name__ == "__main__":
    run_command(main)
