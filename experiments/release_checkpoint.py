"""Keep a trained tokenizer in `zoo/`, with a card of how it was trained and how good it is, or check one that is kept.

`python -m experiments.release PROFILE --checkpoint NAME` runs this.
"""

import argparse
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from alit.config import load_profile
from alit.data.imageset import ImageSet, open_set
from alit.errors import DataError
from alit.files import file_sha256
from alit.models.base import BaseTokenizer
from alit.models.loading import is_published, load_base, save_base
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE, weights_sha256
from alit.paths import RunPaths
from alit.report.differences import settings_diff
from alit.settings import read_yaml
from alit.tasks.protocol import round_to_8_bit
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import TRAINING_FILE
from alit.training.engine.loop import LOG_FILE
from alit.training.optim import perplexity
from experiments.finished_training import FinishedTraining, own_training, variant_training
from experiments.release_predictor import PromiseChecks, keep_length_predictor, read_checks
from experiments.texts import render

BATCH = 64
TOLERANCE = 0.03  # of an L1: set before any training was run again; what one gave then: docs/lab-log.md
CARD_FILE = "card.json"
STAGES = {"base": "base", "distill": "stage_1", "finetune": "."}  # stage -> folder of its log in the checkpoint


class StageCost(TypedDict):
    """What training one stage took."""

    stage: str
    visits: int  # images seen, repetitions counted
    core_hours: float  # by the clock; hours of the device where one is named
    device: NotRequired[str]  # that the stage ran on, where that was no CPU


class LengthScore(TypedDict):
    """Mean L1 over the validation images at one length, pixels in [0, 1], reconstructions rounded to 8 bit."""

    tokens: int
    bits: float  # per image
    l1: float


class Card(TypedDict):
    """The content of a zoo checkpoint's `card.json`: how it was trained, and how good it is."""

    name: str
    profile: str
    variant: NotRequired[str]  # of the profile, and its seed, as in recurrent/1; absent: the profile's own training
    commit: str  # that the training ran on
    threads: int  # that the training ran on, a core each: another number adds up in another order
    remark: NotRequired[str]  # what else a reader has to know of the training
    data: str  # of the training set
    validation: str
    images: int  # validation images
    settings: dict[str, Any]  # stage -> its training.json
    costs: list[StageCost]
    base: LengthScore  # the 2D base tokenizer alone
    scores: list[LengthScore]
    perplexity: float | None  # of the latent codebook over the validation images, at the longest length
    sha256: dict[str, str]  # file -> digest; ../<another>/base/...: that checkpoint of zoo/ holds this one's base


def training_notes(card: Card, paper: Mapping[str, Any], checks: PromiseChecks | None = None) -> str:
    """Return the Markdown that a checkpoint's model card holds as its notes.

    Args:
        card: the content of `card.json`.
        paper: the published settings, those of `configs/paper.yaml` with what it leaves to defaults.
        checks: what became of the length predictor's promises, where the checkpoint has one.
    """
    stages = card["settings"]
    here = {
        "data": _training_data(stages["distill"]["data"]),
        "tokenizer": stages["distill"]["tokenizer"],
        "perceptual_trunk": stages["finetune"]["perceptual_trunk"],
        **({"base_training": stages["base"]["training"]} if "training" in stages["base"] else {}),  # else published
        "distill": stages["distill"]["training"],
        "finetune": stages["finetune"]["training"],
    }
    published = {key: paper[key] for key in here} | {"data": _training_data(paper["data"])}
    holder = next((Path(file).parts[1] for file in card["sha256"] if file.startswith("../")), None)
    differences = settings_diff(published, here)
    return render("training_notes.md", card=card, holder=holder, differences=differences, checks=checks).strip()


def compare_cards(card: Card, again: Card) -> dict[str, tuple[float, float]]:
    """Return L1 on a card and from a training that was run again, for the base tokenizer and for every length.

    Raises:
        DataError: the two were trained or measured by other settings, and there is nothing to compare.
    """
    kept, found = (
        {
            "settings": {
                stage: {**values, "data": _training_data(values["data"])} for stage, values in each["settings"].items()
            },
            "data": each["data"],
            "validation": each["validation"],
            "images": each["images"],
        }
        for each in (card, again)
    )
    for what, value in kept.items():
        if found[what] != value:
            raise DataError(
                f"expected {what} as on the card of {card['name']}, found others; train profile {card['profile']} as "
                f"it is committed, with INIT_FROM=scratch"
            )
    names = ["base tokenizer", *(f"{score['tokens']} latent tokens" for score in card["scores"])]
    pairs = zip(names, [card["base"], *card["scores"]], [again["base"], *again["scores"]], strict=True)
    return {name: (ours["l1"], theirs["l1"]) for name, ours, theirs in pairs}


def _training_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the image sets without the sets that nothing trains on."""
    return {**data, "sets": [part for part in data["sets"] if part["role"] == "train"]}


def release_checkpoint(paths: RunPaths, folder: Path, arguments: argparse.Namespace) -> None:
    """Write a finished training and its card to a folder of zoo/, or compare a training with that card."""
    if arguments.check or arguments.text or arguments.length_predictor:
        if not (folder / CARD_FILE).is_file():
            kept = ", ".join(sorted(path.parent.name for path in folder.parent.glob(f"*/{CARD_FILE}"))) or "none"
            raise DataError(f"expected a checkpoint among those of zoo/ ({kept}), found {folder.name}")
    else:
        found = trained(paths, arguments.variant)
        origin = Origin(
            arguments.variant, arguments.commit or _head(), arguments.threads, arguments.device, arguments.remark
        )
        base = pack(found, folder, folder)
        write_card(folder, make_card(folder, base, paths, found, origin))
    if arguments.check:
        return check_checkpoint(paths, folder)
    if arguments.length_predictor or not (arguments.text or arguments.variant):
        keep_length_predictor(paths, load_profile(paths.config), folder)
    (folder / "README.md").write_text(readme(folder, paths.root), encoding="utf-8")


class Origin(NamedTuple):
    """What a card says of a training beside what its stages have recorded."""

    variant: str | None
    commit: str
    threads: int
    devices: Mapping[str, str]  # stage -> device, where that was no CPU
    remark: str | None


def trained(paths: RunPaths, variant: str | None, *, here: bool = False) -> FinishedTraining:
    """Return a profile's own training or that of a variant; `here` takes none but what its stages have left."""
    return (
        own_training(paths)
        if variant is None
        else variant_training(paths, load_profile(paths.config), variant, here=here)
    )


def _head() -> str:
    found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def read_card(folder: Path) -> Card:
    """Return the card of a checkpoint of zoo/."""
    return json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))


def write_card(folder: Path, card: Card) -> None:
    """Write the card of a checkpoint of zoo/."""
    (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def readme(folder: Path, root: Path) -> str:
    """Return the model card of a packed checkpoint, from its weights and its `card.json`."""
    card = read_card(folder)
    paper = load_profile(root / "configs" / "paper.yaml").model_dump(mode="json")
    tokenizer = AdaptiveTokenizer.from_pretrained(folder)
    notes, source = training_notes(card, paper, read_checks(folder)), f"zoo/{folder.name}"
    return f"{tokenizer.generate_model_card(source=source, license='apache-2.0', notes=notes)}\n"


def check_checkpoint(paths: RunPaths, folder: Path) -> None:
    """Print the card's L1 and that of `runs/<profile>/`, trained from scratch once more.

    Raises:
        DataError: the settings are others, or an L1 differs by more than `TOLERANCE`.
    """
    card = read_card(folder)
    found = trained(paths, card.get("variant"), here=True)
    origin = Origin(card.get("variant"), card["commit"], card["threads"], {}, None)
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / folder.name
        base = pack(found, packed, folder)
        again = make_card(packed, base, paths, found, origin)
    changes = {}
    for what, (ours, theirs) in compare_cards(card, again).items():
        print(f"{what}: L1 {ours:.4f} on the card, {theirs:.4f} here")
        changes[what] = theirs / ours - 1
    furthest = max(changes, key=lambda what: abs(changes[what]))
    if abs(changes[furthest]) > TOLERANCE:
        raise DataError(
            f"expected every L1 within {TOLERANCE:.0%} of the card's, found {furthest} {changes[furthest]:+.1%}"
        )
    same = card["sha256"] == again["sha256"]
    print(
        "the same weights, byte for byte" if same else f"other weights, every L1 within {TOLERANCE:.0%} of the card's"
    )


def pack(found: FinishedTraining, folder: Path, home: Path) -> Path | None:
    """Copy networks, as 16-bit floats, settings and logs of the three stages.

    The base tokenizer is copied where stage 2 has changed it, else the checkpoint has it. A published one is named, and
    one that another checkpoint of zoo/ holds, as seeds of one base do, is not copied again.

    Args:
        found: the training.
        folder: is written, anew.
        home: where the checkpoint lies in zoo/, or will: `folder`, but for a comparison.

    Returns:
        The folder of the base tokenizer, here or in another checkpoint; None: the checkpoint's own is it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = AdaptiveTokenizer.from_pretrained(found.tokenizer)
    base = pack_base(tokenizer.base if found.base is None else load_base(found.base), tokenizer, folder / "base", home)
    tokenizer.half().save_pretrained(folder)
    for stage, name in STAGES.items():
        (folder / name).mkdir(exist_ok=True)
        text = json.dumps(found.records[stage], indent=2)
        (folder / name / TRAINING_FILE).write_text(f"{text}\n", encoding="utf-8")
        if stage in found.logs:  # a published base tokenizer was not trained here and has no log
            shutil.copyfile(found.logs[stage], folder / name / LOG_FILE)
    return base


def pack_base(base: BaseTokenizer, tokenizer: AdaptiveTokenizer, folder: Path, home: Path) -> Path | None:
    """Write what `pack` copies of the base tokenizer into a new folder, and return where that is, as `pack` does."""
    folder.mkdir(parents=True)
    published = is_published(base)
    if not published and weights_sha256(base) == weights_sha256(tokenizer.base):
        return None
    save_base(base.half(), folder)
    if published:
        return folder
    digest = file_sha256(folder / WEIGHTS_FILE)
    for other in sorted(home.parent.glob(f"*/base/{WEIGHTS_FILE}")):
        if other.parent != home / "base" and file_sha256(other) == digest:
            for file in (WEIGHTS_FILE, CONFIG_FILE):
                (folder / file).unlink()
            return other.parent
    return folder


def read_costs(logs: Mapping[str, Path], origin: Origin) -> list[StageCost]:
    """Return what the stages of a training took, by their logs; one that took no step has no cost."""
    costs: list[StageCost] = []
    for stage in (stage for stage in STAGES if stage in logs):
        log = pd.read_csv(logs[stage])
        if not len(log):
            continue
        device = origin.devices.get(stage)
        hours = log["seconds"].iloc[-1] * (1 if device else origin.threads) / 3600
        cost: StageCost = {"stage": stage, "visits": int(log["images"].iloc[-1]), "core_hours": hours}
        if device:
            cost["device"] = device
        costs.append(cost)
    return costs


def make_card(folder: Path, base: Path | None, paths: RunPaths, found: FinishedTraining, origin: Origin) -> Card:
    """Measure a packed checkpoint on the profile's first evaluation set and gather the content of its `card.json`.

    `base` is the folder that `pack` returned.
    """
    sets = read_yaml(paths.config)["data"]["sets"]
    train = next(part for part in sets if part["role"] == "train")
    images = open_set(paths.data / next(part["name"] for part in sets if part["role"] == "evaluate"))
    tokenizer = AdaptiveTokenizer.from_pretrained(folder)
    weights = {WEIGHTS_FILE: file_sha256(folder / WEIGHTS_FILE)}
    if base is not None:
        place = "base" if base == folder / "base" else f"../{base.parent.name}/base"
        weights[f"{place}/{WEIGHTS_FILE}"] = file_sha256(base / WEIGHTS_FILE)
    scores, usage = measure(tokenizer, images)
    card: Card = {
        "name": folder.name,
        "profile": paths.profile,
        "commit": origin.commit,
        "threads": origin.threads,
        "data": f"{train['path'] or 'embedded scenes'}, split {train['split']}",
        "validation": images.name,
        "images": len(images),
        "settings": {stage: dict(found.records[stage]) for stage in STAGES},
        "costs": read_costs(found.logs, origin),
        "base": measure_base(tokenizer.base if base is None else load_base(base), images),
        "scores": scores,
        "perplexity": usage,
        "sha256": weights,
    }
    if origin.variant is not None:
        card["variant"] = origin.variant
    if origin.remark is not None:
        card["remark"] = origin.remark
    return card


@torch.no_grad()
def measure(tokenizer: AdaptiveTokenizer, images: ImageSet) -> tuple[list[LengthScore], float | None]:
    """Return the mean L1 at every length, and the perplexity of the latent codes, if any, at the longest."""
    sums, ids = dict.fromkeys(tokenizer.lengths, 0.0), []
    for rows in tqdm(np.array_split(np.arange(len(images)), math.ceil(len(images) / BATCH)), unit="batch"):
        batch = images.images(rows)
        for step in tokenizer.rollout(batch, image_tokens=False):
            assert step.reconstruction is not None
            sums[step.length] += summed_l1(step.reconstruction, batch)
        if step.ids is not None:
            ids.append(step.ids)
    size = tokenizer.config.distillation.latent_codebook_size
    scores: list[LengthScore] = [
        {"tokens": k, "bits": k * tokenizer.bits_per_token, "l1": total / len(images)} for k, total in sums.items()
    ]
    return scores, float(perplexity(torch.cat(ids), size)) if ids else None


@torch.no_grad()
def measure_base(base: BaseTokenizer, images: ImageSet) -> LengthScore:
    """Return the mean L1 of the base tokenizer alone; numbers that are no ids count 32 bits each."""
    total, tokens = 0.0, 0
    for rows in np.array_split(np.arange(len(images)), math.ceil(len(images) / BATCH)):
        batch = images.images(rows)
        codes = base.encode(batch).codes
        tokens = codes.shape[1]
        total += summed_l1(base.decode(codes), batch)
    codebook = base.config.codebook_size
    bits = 32 * codes.shape[2] if codebook is None else math.log2(codebook)
    return {"tokens": tokens, "bits": tokens * bits, "l1": total / len(images)}


def summed_l1(reconstruction: torch.Tensor, images: torch.Tensor) -> float:
    """Return the sum over images (b, 3, h, w) of their mean absolute errors, reconstructions as a file holds them."""
    return float((round_to_8_bit(reconstruction.clamp(0, 1)) - images).abs().mean(dim=(1, 2, 3)).sum())
