"""Texts of what is released: RESULTS.md, and what the card of a zoo checkpoint says of its training."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from alit.analysis.claims import Claim
from alit.errors import DataError
from alit.report.pages import VERDICTS, mean_errors, settings_diff
from alit.report.site import format_interval, format_number


class StageCost(TypedDict):
    """What training one stage took."""

    stage: str
    visits: int  # images seen, repetitions counted
    core_hours: float


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
    data: str  # of the training set
    validation: str
    images: int  # validation images
    settings: dict[str, Any]  # stage -> its training.json
    costs: list[StageCost]
    base: LengthScore  # the 2D base tokenizer alone
    scores: list[LengthScore]
    perplexity: float  # of the latent codebook over the validation images, at the longest length
    sha256: dict[str, str]  # file -> digest


def training_notes(card: Card, paper: Mapping[str, Any]) -> str:
    """Return the Markdown that a checkpoint's model card holds as its notes.

    Args:
        card: the content of `card.json`.
        paper: the published settings, those of `configs/paper.yaml` with what it leaves to defaults.
    """
    stages = card["settings"]
    here = {
        "data": _training_data(stages["distill"]["data"]),
        "tokenizer": stages["distill"]["tokenizer"],
        "perceptual_trunk": stages["finetune"]["perceptual_trunk"],
        "base_training": stages["base"]["training"],
        "distill": stages["distill"]["training"],
        "finetune": stages["finetune"]["training"],
    }
    published = {key: paper[key] for key in here} | {"data": _training_data(paper["data"])}
    return _render("training_notes.md", card=card, differences=settings_diff(published, here)).strip()


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


def results_text(
    profile: str,
    *,
    claims: Sequence[Claim],
    table: pd.DataFrame,
    settings: Mapping[str, Any],
    paper: Mapping[str, Any],
    figures: Sequence[str],
    notes: str,
) -> str:
    """Return the text of RESULTS.md.

    Args:
        profile: its name.
        claims: the ledger.
        table: the sweep table's columns dataset, length and l1.
        settings: the profile's.
        paper: the published settings.
        figures: paths of the kept plots.
        notes: remarks on these results, Markdown.
    """
    return _render(
        "results.md",
        profile=profile,
        claims=claims,
        counts={verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS},
        errors=mean_errors(table, [part["name"] for part in settings["data"]["sets"]]),
        images=table[table["length"] == 0].groupby("dataset", observed=True).size(),
        differences=settings_diff(paper, settings),
        figures=figures,
        notes=notes,
    )


def _render(template: str, **content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("alit.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=format_number, interval=format_interval)
    return environment.get_template(template).render(**content)
