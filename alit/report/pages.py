"""The pages of the site, one function each: read what the pipeline wrote, arrange it, render it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from alit.analysis.claims import Claim
from alit.analysis.loading import load_study_data
from alit.analysis.sweep_folder import find_sweep
from alit.errors import DataError
from alit.files import read_json
from alit.paths import RunPaths
from alit.plots.style import GRAY, PALETTE, Plot, note, panel_title, panels, style
from alit.report.claims_page import OVERVIEW, verdict_counts
from alit.report.gallery import needs_from_plain_to_crowded, write_pictures
from alit.report.site import IMAGES, ReportConfig, Site
from alit.report.study_page import StudyPage
from alit.report.terms import shows_private_pictures
from alit.settings import read_section, read_yaml

SMOOTHING = 9  # logged rows in the running median, few enough to keep a jump of the schedule; short logs use a fifth


def training_curves(log: pd.DataFrame, title: str = "") -> Plot:
    """Draw each logged number against the step: gray as logged, blue its running median.

    A panel whose numbers are all positive and span more than a factor of ten is on a log scale.

    Args:
        log: a column `step` and one numeric column per logged name; rows in order.
        title: what was trained, for the description.
    """
    names = _logged(log)
    if not names:
        return note("nothing was logged")
    window, changes = max(1, min(SMOOTHING, len(log) // 5)), []
    with style():
        figure, axes = panels(len(names), columns=4, height=1.7, sharex=True)
        for panel, name in zip(axes, names, strict=True):
            line = log.loc[log[name].notna()]
            panel.plot(line["step"], line[name], color=GRAY, lw=0.5, alpha=0.7)
            smooth = line[name].rolling(window, min_periods=1, center=True).median()
            panel.plot(line["step"], smooth, color=PALETTE[0], lw=1.2)
            low, high = line[name].to_numpy().min(), line[name].to_numpy().max()
            if 0 < 10 * low < high:
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_formatter(NullFormatter())
            words = name.replace("_", " ")
            panel_title(panel, words, 22)
            panel.locator_params(axis="x", nbins=4)
            changes.append(f"{words} {line[name].iat[0]:.3g} to {line[name].iat[-1]:.3g}")
        figure.supxlabel("step")
    steps = f"rom step {log['step'].min()} to {log['step'].max()}"
    return Plot(figure, f"{f'{title}: f' if title else 'F'}{steps}, {', '.join(changes)}.")


def _logged(log: pd.DataFrame) -> list[str]:
    numeric = log.select_dtypes("number")
    return [str(name) for name in numeric if name != "step" and bool(numeric[name].notna().any())]


BOOKKEEPING = ["images", "seconds"]  # columns of a training log that are no curve to look at


def write_index(
    site: Site, paths: RunPaths, claims: Sequence[Claim], studies: Sequence[StudyPage], verdicts_alt: str
) -> None:
    """Write the front page: pictures, how many claims have which verdict, a card per study.

    Pictures whose terms forbid publishing them are left out where params.yaml says so.

    Args:
        site: where the page goes.
        paths: of the run.
        claims: the ledger.
        studies: in their order.
        verdicts_alt: description of the claims page's picture, which is shown here too.
    """
    thumbnails = pd.read_parquet(paths.thumbnails)
    data = load_study_data(find_sweep(paths.sweep), trainings=False)
    first = data.grid.dataset(data.dataset)
    gallery = needs_from_plain_to_crowded(first, data.settings.l1_thresholds, list(thumbnails["image_id"]))
    shown = bool(thumbnails["publishable"].all()) or shows_private_pictures(paths.root)
    sections: dict[str, list[StudyPage]] = {}  # parts of the paper, in the order of their first study
    for study in studies:
        sections.setdefault(study.section, []).append(study)
    site.write(
        "index.html",
        "index.html",
        title="Overview",
        command=site.command,
        gallery=gallery,
        pictures=write_pictures(site, gallery.needs, thumbnails) if shown else [],
        figure=f"{IMAGES}/{OVERVIEW}",
        figure_alt=verdicts_alt,
        counts=verdict_counts(claims, "paper"),
        own_counts=verdict_counts(claims, "suite"),
        verdicts={claim.id: claim for claim in claims},
        sections=sections,
        notes=read_section(paths.config, "about", tuple[str, ...]),
    )


def write_training(site: Site, paths: RunPaths) -> None:
    """Write the curves, last values and settings of every training of the pipeline."""
    folders = {
        paths.base: "Base tokenizer",
        paths.distilled: "Stage 1: latent distillation",
        paths.tokenizer: "Stage 2: fine-tuning",
    }
    folders |= {path.parent: f"Task model {path.parent.name}" for path in sorted(paths.task_models.glob("*/log.csv"))}
    runs = []
    for folder, title in folders.items():
        if not (folder / "log.csv").is_file():
            continue
        log = pd.read_csv(folder / "log.csv")
        if log.empty:  # a stage without steps, as stage 2 where a profile leaves it out
            continue
        curves = log.drop(columns=BOOKKEEPING, errors="ignore")
        name = f"training_{folder.name}"
        plot = training_curves(curves, title).save(site.folder / IMAGES, name)
        settings = [folder / file for file in ("training.json", "config.json") if (folder / file).is_file()]
        content = read_json(settings[0]) if settings else {}
        run = {
            "name": folder.name,
            "title": title,
            "figure": f"{IMAGES}/{name}",
            "alt": plot.alt,
            "caption": f"Steps {log['step'].iloc[0]} to {log['step'].iloc[-1]}.",
            "last": log.select_dtypes("number").ffill().iloc[-1].dropna().to_dict(),
            "settings": json.dumps(content, indent=2, ensure_ascii=False),
        }
        runs.append(run)
    content = {"runs": runs, "trained_here": read_section(paths.config, "init_from", str) == "scratch"}
    site.write("training.html", "training.html", title="Training", command=site.command, **content)


def write_reconstructions(site: Site, paths: RunPaths) -> None:
    """Write the example images with their reconstructions at every length, L1 under each.

    Pictures whose terms forbid publishing them are left out where params.yaml says so.

    Raises:
        DataError: the examples are not there.
    """
    file = paths.examples / "examples.npz"
    if not file.is_file():
        raise DataError(f"expected {file}, found none; run: dvc repro examples")
    shown = read_section(paths.config, "report", ReportConfig).example_set
    scenes = any(
        part["name"] == shown and part["source"] == "scenes" for part in read_yaml(paths.config)["data"]["sets"]
    )
    examples = _examples(site, paths) if scenes or shows_private_pictures(paths.root) else []
    content = {"examples": examples, "scenes": scenes}
    site.write("reconstructions.html", "reconstructions.html", title="Reconstructions", command=site.command, **content)


def _examples(site: Site, paths: RunPaths) -> list[dict[str, Any]]:
    """Write the pictures of the examples, and return what the page says of each."""
    file = paths.examples / "examples.npz"
    (site.folder / IMAGES / "reconstructions").mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(paths.examples / "examples.csv", dtype={"image_id": str})
    errors = {(image_id, length): l1 for image_id, length, l1 in table[["image_id", "length", "l1"]].to_numpy()}
    examples = []
    with np.load(file) as arrays:
        lengths = arrays["lengths"].tolist()
        originals, reconstructions = arrays["originals"], arrays["reconstructions"]
        for row, image_id in enumerate(arrays["image_ids"].astype(str)):
            stem = f"{IMAGES}/reconstructions/{row:02d}"
            Image.fromarray(originals[row]).save(site.folder / (original := f"{stem}_original.png"))
            pictures = [{"file": original, "alt": f"{image_id}, the original", "length": None, "l1": None}]
            for column, length in enumerate(lengths):
                l1 = errors[image_id, length]
                alt = f"{image_id} rebuilt from {length} tokens, L1 {l1:.3f}"
                Image.fromarray(reconstructions[row, column]).save(site.folder / (name := f"{stem}_{length:03d}.png"))
                pictures.append({"file": name, "alt": alt, "length": length, "l1": l1})
            examples.append({"image_id": image_id, "pictures": pictures})
    return examples
