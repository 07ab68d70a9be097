"""The pages of the site, one function each: read what the pipeline wrote, arrange it, render it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from alit.analysis import Claim, ledger_from_json
from alit.errors import DataError
from alit.paths import RunPaths
from alit.plots import save, training_curves, training_curves_alt
from alit.report.notebooks import Study
from alit.report.pictures import write_examples
from alit.report.site import Site

VERDICTS = ("holds", "does not hold", "not measurable here")
IMAGES = "images"  # folder of the pictures that belong to no study
BOOKKEEPING = ["images", "seconds"]  # columns of a training log that are no curve to look at


class Run(NamedTuple):
    """One training run as the training page shows it."""

    name: str
    title: str
    figure: str  # path below the site, without suffix
    alt: str
    last: tuple[tuple[str, float], ...]  # (quantity, last logged value)
    settings: str  # JSON


def write_index(site: Site, paths: RunPaths, claims: tuple[Claim, ...], studies: tuple[Study, ...]) -> None:
    """Write the front page: what held, mean L1 per length, a card per study."""
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS}
    verdicts = {claim.id: claim.verdict for claim in claims}
    site.write(
        "index.html",
        "index.html",
        title="Overview",
        command=_command(site),
        counts=counts,
        verdicts=verdicts,
        studies=studies,
        rates=mean_errors(pd.read_parquet(paths.table, columns=["dataset", "length", "l1"])),
    )


def mean_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean L1 by data set (rows, in the table's order) and length (columns); lengths of 0 are originals."""
    shown = table[table["length"] > 0]
    order = shown["dataset"].unique()
    return shown.pivot_table(values="l1", index="dataset", columns="length", aggfunc="mean", observed=True).loc[order]


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
    return Run(folder.name, title, f"{IMAGES}/{name}", alt, last, json.dumps(content, indent=2, ensure_ascii=False))


def write_reconstructions(site: Site, paths: RunPaths) -> None:
    """Write the example images with their reconstructions at every length, L1 under each."""
    lengths, examples = write_examples(paths.examples, site.folder, f"{IMAGES}/reconstructions")
    content: dict[str, Any] = {"lengths": lengths, "examples": examples}
    site.write(
        "reconstructions.html", "reconstructions.html", title="Reconstructions", command=_command(site), **content
    )


def write_study_pages(site: Site, study: Study, results: str, code: str) -> None:
    """Write a study's page and the page with its code; `results` and `code` are HTML fragments of our own notebook."""
    command = f"papermill notebooks/{study.name}.ipynb out.ipynb -p profile {site.made_from.profile}"
    content = {"study": study, "title": study.title, "command": command}
    site.write(f"{study.name}/index.html", "study.html", body=results, is_code=False, **content)
    site.write(f"{study.name}/code.html", "study.html", body=code, is_code=True, **content)


def _command(site: Site) -> str:
    return f"make repro PROFILE={site.made_from.profile}"
