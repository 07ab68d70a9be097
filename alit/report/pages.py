"""The pages of the site, one function each: read what the pipeline wrote, arrange it, render it."""

import json
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from alit.analysis.claims import Claim, ledger_from_json
from alit.config import Profile, load_profile
from alit.errors import DataError
from alit.paths import RunPaths
from alit.plots.style import save
from alit.plots.training import training_curves, training_curves_alt
from alit.report.site import Site, Study
from alit.tasks.registry import TaskModelConfig
from alit.training.optim import OptimizationConfig


class Difference(NamedTuple):
    """One matter in which a run departs from the paper."""

    matter: str
    paper: str
    here: str


def differences(here: Profile, paper: Profile) -> tuple[Difference, ...]:
    """Return every matter in which two profiles differ, in the order of the pipeline."""
    told = ((matter, tell(paper), tell(here)) for matter, tell in MATTERS.items())
    return tuple(Difference(*each) for each in told if each[1] != each[2])


def _sets(profile: Profile, role: str) -> str:
    names = [
        part.name + (f" ({part.images:,})" if part.images else "") for part in profile.data.sets if part.role == role
    ]
    return ", ".join(names)


def _base(profile: Profile) -> str:
    base = profile.tokenizer.base
    codes = f"{base.codebook_size:,} codes of" if base.codebook_size else "continuous,"
    stem = f", {base.stem} x {base.stem} pixels folded into channels" if base.stem > 1 else ""
    return (
        f"{base.kind} of patch {base.patch}, {profile.tokenizer.image_tokens} image tokens, {codes} {base.code_size} "
        f"numbers, {base.channels} channels{stem}"
    )


def _latents(profile: Profile) -> str:
    lengths, latent = profile.tokenizer.lengths, profile.tokenizer.distillation
    kind = f"{latent.latent_codebook_size:,} codes of" if latent.quantize else "continuous, of"
    return f"{lengths[0]} to {lengths[-1]} in {len(lengths)} steps, {kind} {latent.latent_code_size} numbers"


def _networks(profile: Profile) -> str:
    latent = profile.tokenizer.distillation
    return f"{latent.layers} + {latent.layers} layers, width {latent.width}, {latent.heads} heads"


def _visits(optimization: OptimizationConfig) -> str:
    return f"{optimization.steps * optimization.batch_size:,} image visits, {optimization.batch_size} a step"


def _supervision(profile: Profile) -> str:
    distill = profile.distill
    count = distill.supervised_iterations
    parts = ["all iterations at once" if count is None else f"{count} sampled iteration a step"]
    parts.append("cross-entropy of the base ids" if any(distill.cross_entropy_weights) else "no cross-entropy")
    if distill.unlock_share:
        parts.append(f"iterations unlock over {distill.unlock_share:.0%} of the run")
    if distill.continuous_share:
        parts.append(f"quantized after {distill.continuous_share:.0%} of it")
    return ", ".join(parts)


def _adversary(profile: Profile) -> str:
    finetune = profile.finetune
    absent = finetune.adversarial_start >= 1 or finetune.adversarial_weight == 0
    return (
        "none" if absent else f"from {finetune.adversarial_start:.0%} of stage 2, weight {finetune.adversarial_weight}"
    )


def _models(kind: str) -> Callable[[Profile], str]:
    def tell(profile: Profile) -> str:
        found = [model for model in profile.task_models if model.kind == kind]
        return ", ".join(map(_model, found)) or "none"

    return tell


def _model(model: TaskModelConfig) -> str:
    lessons = f", trained on {model.train_on}" if model.train_on else ""
    return f"{model.architecture} at {model.input_size} px{lessons}"


MATTERS: dict[str, Callable[[Profile], str]] = {
    "Training images": lambda profile: _sets(profile, "train"),
    "Evaluation images": lambda profile: _sets(profile, "evaluate"),
    "Images that check depth networks": lambda profile: _sets(profile, "check") or "none",
    "Image size": lambda profile: f"{profile.data.image_size} px",
    "Base tokenizer": _base,
    "Latent tokens": _latents,
    "Encoder and decoder": _networks,
    "What the decoder predicts": lambda profile: profile.tokenizer.distillation.prediction,
    "Stage 1": lambda profile: _visits(profile.distill.optimization),
    "Supervision in stage 1": _supervision,
    "Halting in stage 1": lambda profile: "on" if profile.distill.halting else "off",
    "Stage 2": lambda profile: _visits(profile.finetune.optimization),
    "Perceptual network of stage 2": lambda profile: profile.perceptual_trunk,
    "Adversary": _adversary,
    "Classifiers": _models("classifier"),
    "Depth networks": _models("depth"),
    "Captioners": _models("caption"),
    "Features": _models("features"),
}


class Picture(NamedTuple):
    """One picture of the reconstructions page."""

    file: str  # path below the site
    alt: str
    length: int | None  # latent tokens; None for the original
    l1: float | None  # mean absolute error in [0, 1] against the original


class Example(NamedTuple):
    """One image: the original, then its reconstructions, shortest first."""

    image_id: str
    pictures: tuple[Picture, ...]


def write_examples(examples: Path, site: Path, folder: str) -> tuple[tuple[int, ...], tuple[Example, ...]]:
    """Write the pictures of `examples.npz` below `site/folder`; return the lengths and what to show.

    Raises:
        DataError: the examples are not there.
    """
    if not (examples / "examples.npz").is_file():
        raise DataError(f"expected {examples / 'examples.npz'}, found none; run: dvc repro examples")
    (site / folder).mkdir(parents=True, exist_ok=True)
    errors = (
        pd.read_csv(examples / "examples.csv", dtype={"image_id": str})
        .set_index(["image_id", "length"])["l1"]
        .to_dict()
    )
    shown = []
    with np.load(examples / "examples.npz") as arrays:
        lengths = tuple(int(length) for length in arrays["lengths"])
        originals, reconstructions = arrays["originals"], arrays["reconstructions"]
        for row, image_id in enumerate(arrays["image_ids"].astype(str)):
            stem = f"{folder}/{row:02d}"
            pictures = [_write(originals[row], site, f"{stem}_original.png", f"{image_id}, the original")]
            for column, length in enumerate(lengths):
                l1 = float(errors[image_id, length])
                alt = f"{image_id} rebuilt from {length} tokens, L1 {l1:.3f}"
                picture = _write(reconstructions[row, column], site, f"{stem}_{length:03d}.png", alt)
                pictures.append(picture._replace(length=length, l1=l1))
            shown.append(Example(image_id, tuple(pictures)))
    return lengths, tuple(shown)


def _write(array: np.ndarray, site: Path, file: str, alt: str) -> Picture:
    Image.fromarray(array).save(site / file)
    return Picture(file, alt, None, None)


VERDICTS = ("holds", "does not hold", "not measurable here")
IMAGES = "images"  # folder of the pictures that belong to no study
BOOKKEEPING = ["images", "seconds"]  # columns of a training log that are no curve to look at


class Run(NamedTuple):
    """One training run as the training page shows it."""

    name: str
    title: str
    figure: str  # path below the site, without suffix
    alt: str
    caption: str
    last: tuple[tuple[str, float], ...]  # (quantity, last logged value)
    settings: str  # JSON


def write_index(site: Site, paths: RunPaths, claims: tuple[Claim, ...], studies: tuple[Study, ...]) -> None:
    """Write the front page: what the profile is, what held, mean L1 per length, a card per study."""
    order = [part.name for part in load_profile(paths.config).data.sets if not part.controlled]
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS}
    verdicts = {claim.id: claim.verdict for claim in claims}
    site.write(
        "index.html",
        "index.html",
        title="Overview",
        command=_command(site),
        counts=counts,
        verdicts=verdicts,
        sections=by_section(studies),
        rates=mean_errors(pd.read_parquet(paths.table, columns=["dataset", "length", "l1"]), order),
        notes=lab_notes(paths.config.read_text(encoding="utf-8")),
    )


def by_section(studies: Sequence[Study]) -> dict[str, list[Study]]:
    """Group studies by the part of the paper that they belong to, parts in the order of their first study."""
    sections: dict[str, list[Study]] = {}
    for study in studies:
        sections.setdefault(study.section, []).append(study)
    return sections


def lab_notes(config: str) -> tuple[str, ...]:
    """Return the comment at the head of a profile, one note a line; a line that begins in lower case goes on."""
    notes: list[str] = []
    for line in takewhile(lambda line: line.startswith("#"), config.splitlines()):
        text = line.lstrip("# ")
        if notes and not text[:1].isupper():
            notes[-1] += f" {text}"
        else:
            notes.append(text.partition(": ")[2] if not notes else text)
    return tuple(note[:1].upper() + note[1:] for note in notes)


def mean_errors(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return mean L1 by data set (rows, in the given order) and length (columns); lengths of 0 are originals."""
    shown = table[table["length"] > 0]
    means = shown.pivot_table(values="l1", index="dataset", columns="length", aggfunc="mean", observed=True)
    return means.loc[[name for name in order if name in means.index]]


def write_claims(site: Site, claims: tuple[Claim, ...], studies: tuple[Study, ...]) -> None:
    """Write the claims ledger as a page."""
    shown_in = {claim.id: [study for study in studies if claim.id in study.claims] for claim in claims}
    site.write("claims.html", "claims.html", title="Claims", command=_command(site), claims=claims, shown_in=shown_in)


def read_claims(path: Path) -> tuple[Claim, ...]:
    """Read the ledger that the claims stage wrote.

    Raises:
        DataError: it is not there.
    """
    if not path.is_file():
        raise DataError(f"expected the claims ledger {path}, found none; run: dvc repro claims")
    return ledger_from_json(path.read_text(encoding="utf-8"))


def write_training(site: Site, paths: RunPaths) -> None:
    """Write the curves of every training run of the pipeline."""
    stages = [
        (paths.base, "Base tokenizer"),
        (paths.distilled, "Stage 1: latent distillation"),
        (paths.tokenizer, "Stage 2: fine-tuning"),
    ]
    stages += [(log.parent, f"Task model {log.parent.name}") for log in sorted(paths.task_models.glob("*/log.csv"))]
    runs = [_training_run(site, folder, title) for folder, title in stages if (folder / "log.csv").is_file()]
    site.write("training.html", "training.html", title="Training", command=_command(site), runs=runs)


def _training_run(site: Site, folder: Path, title: str) -> Run:
    log = pd.read_csv(folder / "log.csv")
    name = f"training_{folder.name}"
    curves = log.drop(columns=BOOKKEEPING, errors="ignore")
    alt = training_curves_alt(curves, title)
    save(training_curves(curves), site.folder / IMAGES, name, alt)
    numbers = log.select_dtypes("number")
    last = tuple(
        (str(column), float(values.dropna().iloc[-1])) for column, values in numbers.items() if values.notna().any()
    )
    settings = next((folder / file for file in ("training.json", "config.json") if (folder / file).is_file()), None)
    content = json.loads(settings.read_text(encoding="utf-8")) if settings else {}
    return Run(
        name=folder.name,
        title=title,
        figure=f"{IMAGES}/{name}",
        alt=alt,
        caption=f"Steps {log['step'].iloc[0]} to {log['step'].iloc[-1]}.",
        last=last,
        settings=json.dumps(content, indent=2, ensure_ascii=False),
    )


def write_differences(site: Site, paths: RunPaths) -> None:
    """Write what this run has otherwise than the paper."""
    published = load_profile(paths.config.with_name("paper.yaml"))
    found = differences(load_profile(paths.config), published)
    site.write("differences.html", "differences.html", title="Differences", command=_command(site), differences=found)


def write_reconstructions(site: Site, paths: RunPaths) -> None:
    """Write the example images with their reconstructions at every length, L1 under each."""
    lengths, examples = write_examples(paths.examples, site.folder, f"{IMAGES}/reconstructions")
    profile = load_profile(paths.config)
    source = {part.name: part.source for part in profile.data.sets}[profile.report.example_set]
    content: dict[str, Any] = {"lengths": lengths, "examples": examples, "scenes": source == "scenes"}
    site.write(
        "reconstructions.html", "reconstructions.html", title="Reconstructions", command=_command(site), **content
    )


def _command(site: Site) -> str:
    return f"make repro PROFILE={site.made_from.profile}"
