"""Keep a trained profile as a checkpoint of zoo/, with its logs and its card; or check that a card comes out again.

Run by hand, not by the pipeline: `python -m experiments.zoo cpu alit-scenes`, and `--check` for the second.
"""

import argparse
import hashlib
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from alit.config import load_profile
from alit.data.imageset import ImageSet, open_set
from alit.errors import DataError, run_command
from alit.models.base import BaseTokenizer
from alit.paths import RunPaths, project_root
from alit.report.card import Card, LengthScore, StageCost, card_from_json, card_text, card_to_json, compare_cards
from alit.tasks.protocol import round_to_8_bit
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import TRAINING_FILE, WEIGHTS_FILE, load_base, save_network
from alit.training.engine.loop import LOG_FILE
from alit.training.optim import perplexity

BATCH = 64
TOLERANCE = 0.03  # of an L1: set before any training was run again; what one gave then: docs/lab-log.md
CARD_FILE = "card.json"
STAGES = {"base": "base", "distill": "stage_1", "finetune": "."}  # stage -> folder of its log in the checkpoint


def main(argv: Sequence[str] | None = None) -> None:
    """Write `zoo/<name>/` from `runs/<profile>/`, trained from scratch, or compare that training with its card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("name", help="of the checkpoint, such as alit-scenes")
    parser.add_argument("--threads", type=int, default=1, help="that the training ran on, a core each; for its card")
    parser.add_argument("--check", action="store_true", help="write nothing: compare the training with the card")
    arguments = parser.parse_args(argv)
    paths = RunPaths(project_root(), arguments.profile)
    folder = paths.root / "zoo" / arguments.name
    if arguments.check:
        check(paths, folder)
    else:
        keep(paths, folder, arguments.threads)


def keep(paths: RunPaths, folder: Path, threads: int) -> None:
    """Write a trained profile and its card to a folder of zoo/."""
    pack(paths, folder)
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    card = assess(folder, paths, threads, commit=head.stdout.strip())
    (folder / CARD_FILE).write_text(card_to_json(card), encoding="utf-8")
    (folder / "README.md").write_text(card_text(card), encoding="utf-8")


def check(paths: RunPaths, folder: Path) -> None:
    """Print the card's L1 beside that of `runs/<profile>/`, trained from scratch once more.

    Raises:
        DataError: there is no card, the settings are others, or an L1 differs by more than `TOLERANCE`.
    """
    if not (folder / CARD_FILE).is_file():
        kept = ", ".join(sorted(path.parent.name for path in folder.parent.glob(f"*/{CARD_FILE}"))) or "none"
        raise DataError(f"expected a checkpoint among those of zoo/ ({kept}), found {folder.name}")
    card = card_from_json((folder / CARD_FILE).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / folder.name
        pack(paths, packed)
        again = assess(packed, paths, card.threads, commit=card.commit)
    comparisons = compare_cards(card, again)
    for what, ours, theirs in comparisons:
        print(f"{what}: L1 {ours:.4f} on the card, {theirs:.4f} here")
    furthest = max(comparisons, key=lambda pair: abs(pair.change))
    if abs(furthest.change) > TOLERANCE:
        raise DataError(
            f"expected every L1 within {TOLERANCE:.0%} of the card's, found {furthest.what} {furthest.change:+.1%}"
        )
    same = card.sha256 == again.sha256
    print(
        "the same weights, byte for byte" if same else f"other weights, every L1 within {TOLERANCE:.0%} of the card's"
    )


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


def assess(folder: Path, paths: RunPaths, threads: int, *, commit: str) -> Card:
    """Measure a packed checkpoint on the profile's validation images and gather what its card says."""
    sets = load_profile(paths.config).data.sets
    train = next(part for part in sets if part.role == "train")
    images = open_set(paths.data / next(part.name for part in sets if part.role == "evaluate"))
    settings = {stage: json.loads((folder / name / TRAINING_FILE).read_text()) for stage, name in STAGES.items()}
    logs = {stage: pd.read_csv(folder / name / LOG_FILE).iloc[-1] for stage, name in STAGES.items()}
    scores, usage = measure(AdaptiveTokenizer.from_pretrained(folder), images)
    weights = [WEIGHTS_FILE, f"base/{WEIGHTS_FILE}"]
    return Card(
        name=folder.name,
        profile=paths.profile,
        commit=commit,
        threads=threads,
        data=f"{train.path or 'embedded scenes'}, split {train.split}",
        validation=images.name,
        images=len(images),
        settings=settings,
        costs=[StageCost(stage, int(log["images"]), log["seconds"] * threads / 3600) for stage, log in logs.items()],
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


if __name__ == "__main__":
    run_command(main)
