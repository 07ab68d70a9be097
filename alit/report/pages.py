"""The pages of the site, one function each: read what the pipeline wrote, arrange it, render it."""

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from alit.analysis.claims.ledger import Claim, ledger_from_json
from alit.config.profile import load_profile
from alit.errors import DataError
from alit.paths import RunPaths
from alit.plots.style import save
from alit.plots.training import training_curves, training_curves_alt
from alit.report.differences import differences
from alit.report.pictures import write_examples
from alit.report.site import Site
from alit.report.studies import Study

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
