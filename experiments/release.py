"""Keep what a finished run of a profile gave where git holds it, and check what is kept. Run by hand, by no stage.

    python -m experiments.release imagenette-taesd                    its results: results/ and RESULTS.md
    python -m experiments.release cpu --checkpoint alit-scenes        its tokenizer: zoo/alit-scenes/, with its card

With `--length-predictor` only what predicts the checkpoint's lengths is fitted and checked again, after stage `data`.
`--check` writes nothing: it computes the verdicts again from the tables in results/, or compares a training that was
run again with its card. `--text` writes only RESULTS.md and the tables of README.md and docs/claims.md, or the
checkpoint's README.md, from what is kept. `--reassess` first computes the kept ledger again from the kept tables: after
claims were changed, without a run.
"""

import argparse
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from alit.analysis.claims import Claim
from alit.analysis.ledger import ledger_to_json, recheck
from alit.analysis.loading import DISTANCES, load_run_data
from alit.config import load_profile
from alit.data.imageset import ImageSet, open_set
from alit.errors import DataError, run_command
from alit.files import file_sha256
from alit.models.base import BaseTokenizer
from alit.models.loading import load_base, save_base
from alit.models.weights import WEIGHTS_FILE
from alit.paths import TRAINING, RunPaths, project_root
from alit.plots.card import CARD
from alit.report.claims_figure import claims_overview
from alit.report.claims_page import by_section, read_claims
from alit.report.differences import settings_diff
from alit.settings import read_yaml
from alit.studies import all_statements, assess
from alit.tasks.protocol import round_to_8_bit
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import TRAINING_FILE
from alit.training.engine.loop import LOG_FILE
from alit.training.optim import perplexity
from experiments.release_predictor import PromiseChecks, keep_length_predictor, read_checks
from experiments.site import judge_notes
from experiments.texts import render, replace_part, results_text, statement_table, verdict_table


class StageCost(TypedDict):
    """What training one stage took."""

    stage: str
    visits: int  # images seen, repetitions counted
    core_hours: float  # by the clock; hours of the card's device where it names one


class LengthScore(TypedDict):
    """Mean L1 over the validation images at one length, pixels in [0, 1], reconstructions rounded to 8 bit."""

    tokens: int
    bits: float  # per image
    l1: float


class Card(TypedDict):
    """The content of a zoo checkpoint's `card.json`: how it was trained, and how good it is."""

    name: str
    profile: str
    commit: str
    threads: int  # that the training ran on, a core each: another number adds up in another order
    device: NotRequired[str]  # that the training ran on, where that was no CPU
    data: str  # of the training set
    validation: str
    images: int  # validation images
    settings: dict[str, Any]  # stage -> its training.json
    costs: list[StageCost]
    base: LengthScore  # the 2D base tokenizer alone
    scores: list[LengthScore]
    perplexity: float | None  # of the latent codebook over the validation images, at the longest length
    sha256: dict[str, str]  # file -> digest


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
    return render("training_notes.md", card=card, differences=settings_diff(published, here), checks=checks).strip()


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


BATCH = 64
TOLERANCE = 0.03  # of an L1: set before any training was run again; what one gave then: docs/lab-log.md
CARD_FILE = "card.json"
PICTURE = "claims.png"  # in results/
STAGES = {"base": "base", "distill": "stage_1", "finetune": "."}  # stage -> folder of its log in the checkpoint


def main(argv: Sequence[str] | None = None) -> None:
    """Keep the results or the checkpoint of a profile, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("--checkpoint", metavar="NAME", help="release the tokenizer, trained from scratch, as zoo/NAME")
    parser.add_argument("--threads", type=int, default=1, help="that the training ran on, a core each; for its card")
    parser.add_argument("--device", help="that the training ran on, such as 'one NVIDIA H100'; for its card")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="write nothing, compare what is kept")
    only.add_argument("--length-predictor", action="store_true", help="fit only a checkpoint's length predictor again")
    only.add_argument("--text", action="store_true", help="write only the texts, from what is kept")
    only.add_argument("--reassess", action="store_true", help="compute the kept ledger again from the kept tables, too")
    arguments = parser.parse_args(argv)
    paths = RunPaths(project_root(), arguments.profile)
    if arguments.checkpoint:
        release_checkpoint(paths, paths.root / "zoo" / arguments.checkpoint, arguments)
    else:
        release_results(paths, RunPaths(paths.root / "results", arguments.profile), arguments)


def release_results(paths: RunPaths, kept: RunPaths, arguments: argparse.Namespace) -> None:
    """Write `results/`, RESULTS.md and the tables in README.md and docs/claims.md, or check them."""
    if arguments.check or arguments.text or arguments.reassess:
        if not kept.claims.is_file():
            raise DataError(
                f"expected kept results in {kept.claims}, found none; run: python -m experiments.release {kept.profile}"
            )
    else:
        keep_results(paths, kept)
    if arguments.reassess:
        kept.claims.write_text(ledger_to_json(assess(load_run_data(kept))), encoding="utf-8")
    if arguments.check:
        check_results(kept, paths.root)
        return
    claims = read_claims(kept.claims)
    (kept.root / PICTURE).write_bytes(claims_overview(by_section(claims)).png)
    for file, text in texts(kept, paths.root, claims).items():
        file.write_text(text, encoding="utf-8")


def keep_results(paths: RunPaths, kept: RunPaths) -> None:
    """Copy tables, ledger, settings and plots. No photographs: figures that show images stay behind."""
    for folder in (kept.run, kept.report):
        shutil.rmtree(folder, ignore_errors=True)
    files = [paths.config, paths.config.with_name("paper.yaml"), paths.claims, paths.table, paths.sweep / "config.json"]
    files += sorted(paths.baselines.glob("*/table.parquet"))
    files += sorted(paths.baselines.glob(f"{TRAINING}*/config.json"))  # as the own sweep's: claims are about them
    files += sorted(paths.measured("").glob("*/*.parquet"))
    left = ("images_", CARD)  # photographs, and what the overview shows in little
    files += [path for path in sorted(paths.report.glob("*/figures/*.png")) if not path.stem.startswith(left)]
    for path in files:
        target = kept.root / path.relative_to(paths.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    keep_distances(paths, kept)


def keep_distances(paths: RunPaths, kept: RunPaths) -> None:
    """Write the distances that the ledger asks of the sweep's features, and each image's influence on them.

    A few megabytes in place of the features, from which `--check` computes every measurement again.
    """
    data = load_run_data(paths)
    if data.distances:
        assess(data)
    others = {kept.baselines / name: each for name, each in data.trainings.items()}
    for folder, each in {kept.sweep: data, **others}.items():
        for extractor, distances in each.distances.items():
            if len(table := distances.to_table()):
                table.to_parquet(folder / f"{DISTANCES}{extractor}.parquet", index=False, compression="zstd")


def texts(kept: RunPaths, root: Path, claims: Sequence[Claim]) -> dict[Path, str]:
    """Return the texts that follow from what is kept, by file; README.md and docs/claims.md where they are there."""
    notes = kept.root / "notes" / f"{kept.profile}.md"  # remarks on this run, if any: their numbers are its own
    table = pd.read_parquet(kept.table, columns=["dataset", "length", "l1"])
    settings = read_yaml(kept.config)
    found = {
        root / "RESULTS.md": results_text(
            kept.profile,
            claims=claims,
            table=table,
            settings=settings,
            paper=read_yaml(kept.config.with_name("paper.yaml")),
            judges=judge_notes(kept),
            picture=str((kept.root / PICTURE).relative_to(root)),
            figures=sorted(str(path.relative_to(root)) for path in kept.report.glob("*/figures/*.png")),
            notes=notes.read_text(encoding="utf-8") if notes.is_file() else "",
            tables=kept.run,
        )
    }
    parts = {
        root / "README.md": ("verdicts", verdict_table(claims)),
        root / "docs" / "claims.md": ("statements", statement_table(all_statements())),
    }
    for file, (name, content) in parts.items():
        if file.is_file():
            found[file] = replace_part(file.read_text(encoding="utf-8"), name, content)
    return found


def check_results(kept: RunPaths, root: Path) -> None:
    """Compute every claim again from the kept tables and compare; compare the texts with what they follow from.

    Raises:
        DataError: something differs; each fault is printed.
    """
    ledger = read_claims(kept.claims)
    faults = recheck(ledger, assess(load_run_data(kept)))
    for file, text in texts(kept, root, ledger).items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            faults.append(f"{file.relative_to(root)} is not what the kept results give; run with --text")
    for fault in faults:
        print(fault)
    if faults:
        raise DataError(f"expected the verdicts of {kept.claims} to follow from its tables, found {len(faults)} faults")
    print(f"{len(ledger)} claims of {kept.claims}, in both columns, follow from the kept tables")


def release_checkpoint(paths: RunPaths, folder: Path, arguments: argparse.Namespace) -> None:
    """Write a trained profile and its card to a folder of zoo/, or compare a training with that card."""
    if arguments.check or arguments.text or arguments.length_predictor:
        if not (folder / CARD_FILE).is_file():
            kept = ", ".join(sorted(path.parent.name for path in folder.parent.glob(f"*/{CARD_FILE}"))) or "none"
            raise DataError(f"expected a checkpoint among those of zoo/ ({kept}), found {folder.name}")
    else:
        pack(paths, folder)
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        card = make_card(folder, paths, arguments.threads, commit=head.stdout.strip(), device=arguments.device)
        (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    if arguments.check:
        check_checkpoint(paths, folder)
    else:
        if not arguments.text:
            keep_length_predictor(paths, load_profile(paths.config), folder)
        (folder / "README.md").write_text(readme(folder, paths.root), encoding="utf-8")


def readme(folder: Path, root: Path) -> str:
    """Return the model card of a packed checkpoint, from its weights and its `card.json`."""
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    paper = load_profile(root / "configs" / "paper.yaml").model_dump(mode="json")
    tokenizer = AdaptiveTokenizer.from_pretrained(folder)
    notes, source = training_notes(card, paper, read_checks(folder)), f"zoo/{folder.name}"
    return f"{tokenizer.generate_model_card(source=source, license='apache-2.0', notes=notes)}\n"


def check_checkpoint(paths: RunPaths, folder: Path) -> None:
    """Print the card's L1 and that of `runs/<profile>/`, trained from scratch once more.

    Raises:
        DataError: the settings are others, or an L1 differs by more than `TOLERANCE`.
    """
    card: Card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / folder.name
        pack(paths, packed)
        again = make_card(packed, paths, card["threads"], commit=card["commit"], device=card.get("device"))
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


def pack(paths: RunPaths, folder: Path) -> None:
    """Copy networks, as 16-bit floats, settings and logs of the three stages."""
    shutil.rmtree(folder, ignore_errors=True)
    AdaptiveTokenizer.from_pretrained(paths.tokenizer).half().save_pretrained(folder)
    (folder / "base").mkdir()
    save_base(load_base(paths.base).half(), folder / "base")
    for source, name in zip((paths.base, paths.distilled, paths.tokenizer), STAGES.values(), strict=True):
        (folder / name).mkdir(exist_ok=True)
        for file in (LOG_FILE, TRAINING_FILE):
            if (source / file).is_file():  # a published base tokenizer was not trained here and has no log
                shutil.copyfile(source / file, folder / name / file)


def read_costs(folder: Path, threads: int) -> list[StageCost]:
    """Return what the stages of a packed checkpoint took, by their logs; one that took no step has no cost."""
    files = {stage: folder / name / LOG_FILE for stage, name in STAGES.items()}
    logs = {stage: pd.read_csv(file) for stage, file in files.items() if file.is_file()}
    ends = {stage: log.iloc[-1] for stage, log in logs.items() if len(log)}
    return [
        {"stage": stage, "visits": int(end["images"]), "core_hours": end["seconds"] * threads / 3600}
        for stage, end in ends.items()
    ]


def make_card(folder: Path, paths: RunPaths, threads: int, *, commit: str, device: str | None = None) -> Card:
    """Measure a packed checkpoint on the profile's first evaluation set and gather the content of its `card.json`."""
    sets = read_yaml(paths.config)["data"]["sets"]
    train = next(part for part in sets if part["role"] == "train")
    images = open_set(paths.data / next(part["name"] for part in sets if part["role"] == "evaluate"))
    settings = {stage: json.loads((folder / name / TRAINING_FILE).read_text()) for stage, name in STAGES.items()}
    scores, usage = measure(AdaptiveTokenizer.from_pretrained(folder), images)
    card: Card = {
        "name": folder.name,
        "profile": paths.profile,
        "commit": commit,
        "threads": threads,
        "data": f"{train['path'] or 'embedded scenes'}, split {train['split']}",
        "validation": images.name,
        "images": len(images),
        "settings": settings,
        "costs": read_costs(folder, 1 if device else threads),
        "base": measure_base(load_base(folder / "base"), images),
        "scores": scores,
        "perplexity": usage,
        "sha256": {file: file_sha256(folder / file) for file in (WEIGHTS_FILE, f"base/{WEIGHTS_FILE}")},
    }
    if device:
        card["device"] = device
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


if __name__ == "__main__":
    run_command(main)
