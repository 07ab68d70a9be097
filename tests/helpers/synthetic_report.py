"""A checkout with everything that the report is made from, in little: no networks, no training."""

import json
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from checkout import ROOT
from synthetic_tables import synthetic_table
from synthetic_thumbnails import synthetic_thumbnails

from alit.analysis.claims import Claim
from alit.analysis.ledger import ledger_to_json
from alit.analysis.measurements import Measurement
from alit.paths import RunPaths

PROFILE = "toy"
STUDIES = ("first", "second")
PAGES = (
    "index.html",
    "claims.html",
    "explorer.html",
    "leaderboard.html",
    "training.html",
    "reconstructions.html",
    "differences.html",
    *(f"{study}/{page}.html" for study in STUDIES for page in ("index", "code")),
)
LENGTHS = (4, 8, 12, 16, 20, 24, 28, 32)
LOG = """
from pathlib import Path
from alit.report.pages import training_curves
import pandas as pd
log = pd.DataFrame({"step": range(40), "loss": [1 / (1 + step) for step in range(40)]})
folder = Path(figures)
"""
CARDS = {  # with a figure, and without
    "first": """
from alit.plots.card import line_card
line = pd.DataFrame({"series": "loss", "x": log["step"], "value": log["loss"], "low": 0.0, "high": 1.0})
line_card("The loss goes from 1 to 0.025.", line, series="series", across="x", x="step", y="loss").save(folder)
""",
    "second": """
from alit.plots.card import no_card
no_card("not measurable here: no tea").save(folder)
""",
}


def synthetic_project(root: Path) -> RunPaths:
    """Write a checkout whose stages before the notebooks have run; return its paths."""
    paths = RunPaths(root, PROFILE)
    (root / "configs").mkdir(parents=True)
    configs = ROOT / "configs"
    paths.config.write_text((configs / "smoke.yaml").read_text())
    shutil.copyfile(configs / "paper.yaml", root / "configs" / "paper.yaml")
    (root / "dvc.yaml").touch()
    (root / "params.yaml").write_text(f"profile: {PROFILE}\npictures: all\nstudies: {{{', '.join(STUDIES)}}}\n")
    (root / "notebooks").mkdir()
    for number, name in enumerate(STUDIES):
        nbformat.write(synthetic_notebook(name, f"Study number {number + 1}"), root / "notebooks" / f"{name}.ipynb")
    paths.sweep.mkdir(parents=True)
    table = synthetic_table(images=40)
    table.to_parquet(paths.table)
    shown = table.loc[table["dataset"] == "val", "image_id"].unique()[:6]
    synthetic_thumbnails(shown, len(LENGTHS)).to_parquet(paths.thumbnails)
    judge = {"name": "net", "kind": "classifier", "architecture": "timm/resnet18", "weights": "pretrained"}
    (paths.sweep / "config.json").write_text(json.dumps({"tasks": [judge]}), encoding="utf-8")
    for name, lengths in {"base": (64,), "codec": (8, 32, 64)}.items():
        (paths.baselines / name).mkdir(parents=True)
        other = synthetic_table(images=40, datasets=("val",), lengths=lengths)
        other.assign(tokens=np.nan if name == "codec" else other["length"]).to_parquet(
            paths.baselines / name / "table.parquet"
        )
    for study, claims in zip(STUDIES, (synthetic_claims()[:1], synthetic_claims()[1:]), strict=True):
        paths.study_claims(study).parent.mkdir(exist_ok=True)
        paths.study_claims(study).write_text(ledger_to_json(claims), encoding="utf-8")
    for folder in (paths.base, paths.distilled, paths.tokenizer, paths.task_models / "small_cnn"):
        _write_log(folder)
    _write_examples(paths.examples)
    return paths


def synthetic_notebook(name: str, title: str) -> nbformat.NotebookNode:
    """Return a study that draws one figure and that of its card, shows a table and a line of text."""
    code = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell(f"# {title}\n\nWhat to look at: `loss` falls < 1 & rises never."),
        code('figures: str = ""', metadata={"tags": ["parameters"]}),
        code(f'{LOG}{CARDS.get(name, "")}training_curves(log, "{name}_curve").save(folder, "{name}_curve")'),
        code("log.tail(3)"),
        code("print(folder.name)"),
    ]
    about = {"paper": "Fig. 4, 11", "claims": ["C1", "C2"]}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"alit": about, "kernelspec": kernel})


def synthetic_claims() -> tuple[Claim, ...]:
    """Return one claim of each verdict; the last has numbers that could not be measured."""
    parts = (
        Measurement("short", "L1 at 4 tokens minus L1 at 8", 0.0213, 0.0201, 0.0226, 512, 0.0, "above"),
        Measurement("long", "L1 at 28 tokens minus L1 at 32", 0.0007, -0.0002, 0.0015, 512, 0.0, "above"),
        Measurement("near", "the same on the near set", -0.004, -0.006, -0.002, 256, 0.0, "above"),
    )
    words = {
        "paper": "22.57 at 32 tokens to 8.25 at 256",
        "source": "Tab. 1, Fig. 3",
        "criterion": "all steps above 0",
    }
    return (
        Claim(
            id="C1",
            sentence="More tokens give lower reconstruction loss at every step.",
            verdict="supported",
            reason="all 3 supported",
            control="the fall per token is above 0",
            control_verdict="inconclusive",
            control_reason="inconclusive (long); open with 512 images",
            headline=parts[0],
            measurements=parts,
            **words,
        ),
        Claim(
            id="C2",
            sentence="At a fixed length, loss rises with human complexity, in every category of pictures.",
            verdict="mixed",
            reason="1 of 3 supported; 1 of 3 contradicted (near); 1 of 3 inconclusive (long); open with 512 images",
            control_verdict="no control",
            control_reason="",
            no_control="complexity is what it is",
            headline=parts[2],
            measurements=parts,
            **words,
        ),
        Claim(
            id="C3",
            sentence="Complex images need more tokens for the same loss.",
            verdict="not measurable",
            reason="no data set of this profile has complexity scores <by people> & co.",
            control_verdict="no control",
            control_reason="",
            **words,
        ),
    )


def _write_log(folder: Path) -> None:
    folder.mkdir(parents=True)
    steps = np.arange(0, 400, 5)
    noise = np.random.default_rng(0).normal(size=len(steps))
    log = pd.DataFrame({"step": steps, "seconds": steps * 0.1, "loss": 1 / (1 + steps) + 0.01 * noise**2})
    log["adversary"] = np.where(steps < 200, np.nan, 0.5 + 0.1 * noise)
    log.to_csv(folder / "log.csv", index=False)
    (folder / "training.json").write_text(json.dumps({"seed": 0, "training": {"steps": 400, "batch_size": 16}}))


def _write_examples(folder: Path) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    ids = np.array(["val-00001", "val-00002"])
    ramp = np.linspace(0, 255, 32)
    original = np.broadcast_to(ramp[:, None, None], (32, 32, 3)) * 0.5 + ramp[None, :, None] * np.array([0.5, 0.2, 0.1])
    originals = np.stack([original, original[::-1]]).astype(np.uint8)
    noise = generator.integers(-60, 60, (2, len(LENGTHS), 32, 32, 3)) / np.arange(1, 9)[:, None, None, None]
    rebuilt = np.clip(originals[:, None] + noise, 0, 255).astype(np.uint8)
    np.savez_compressed(
        folder / "examples.npz", image_ids=ids, lengths=np.array(LENGTHS), originals=originals, reconstructions=rebuilt
    )
    errors = np.abs(rebuilt / 255 - originals[:, None] / 255).mean(axis=(2, 3, 4))
    rows = [(ids[i], length, errors[i, k]) for k, length in enumerate(LENGTHS) for i in range(2)]
    pd.DataFrame(rows, columns=["image_id", "length", "l1"]).to_csv(folder / "examples.csv", index=False)
