"""Text files of a finished run: RESULTS.md, and the card of a zoo checkpoint."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from alit.analysis.claims import Claim
from alit.errors import DataError
from alit.report.pages import VERDICTS, Difference, mean_errors
from alit.report.site import format_interval, format_number


class StageCost(NamedTuple):
    """What training one stage took."""

    stage: str
    visits: int  # images seen, repetitions counted
    core_hours: float


class LengthScore(NamedTuple):
    """Mean L1 over the validation images at one length, pixels in [0, 1], reconstructions rounded to 8 bit."""

    tokens: int
    bits: float  # per image
    l1: float


class Card(NamedTuple):
    """Everything that a card says; `card.json` holds the same."""

    name: str
    profile: str
    commit: str
    threads: int  # that the training ran on, a core each: another number adds up in another order
    data: str  # of the training set
    validation: str
    images: int  # validation images
    settings: Mapping[str, Any]  # stage -> its training.json
    costs: Sequence[StageCost]
    base: LengthScore  # the 2D base tokenizer alone
    scores: Sequence[LengthScore]
    perplexity: float  # of the latent codebook over the validation images, at the longest length
    sha256: Mapping[str, str]  # file -> digest


def card_to_json(card: Card) -> str:
    """Return a card as the text of `card.json`."""
    lists = {"costs": [cost._asdict() for cost in card.costs], "scores": [score._asdict() for score in card.scores]}
    return json.dumps({**card._asdict(), **lists, "base": card.base._asdict()}, indent=2) + "\n"


def card_from_json(text: str) -> Card:
    """Return the card that `card_to_json` wrote."""
    fields = json.loads(text)
    costs = [StageCost(**cost) for cost in fields.pop("costs")]
    scores = [LengthScore(**score) for score in fields.pop("scores")]
    return Card(**{**fields, "base": LengthScore(**fields["base"])}, costs=costs, scores=scores)


class Comparison(NamedTuple):
    """L1 at one length: as the card has it, and from a training that was run again."""

    what: str
    card: float
    again: float

    @property
    def change(self) -> float:
        """Share of the card's L1 by which the other differs, signed."""
        return self.again / self.card - 1


def compare_cards(card: Card, again: Card) -> list[Comparison]:
    """Compare L1 of the base tokenizer and of every length.

    Raises:
        DataError: the two were trained or measured by other settings, and there is nothing to compare.
    """
    kept, found = (
        {"settings": _of_training(one.settings), "data": one.data, "validation": one.validation, "images": one.images}
        for one in (card, again)
    )
    for what, value in kept.items():
        if found[what] != value:
            raise DataError(
                f"expected {what} as on the card of {card.name}, found others; train profile {card.profile} as it is "
                f"committed, with INIT_FROM=scratch"
            )
    pairs = zip([card.base, *card.scores], [again.base, *again.scores], strict=True)
    names = ["base tokenizer", *(f"{score.tokens} latent tokens" for score in card.scores)]
    return [Comparison(name, ours.l1, theirs.l1) for name, (ours, theirs) in zip(names, pairs, strict=True)]


def _of_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of each stage without the image sets that it does not train on."""
    found = {}
    for stage, values in settings.items():
        data = values["data"]
        found[stage] = {**values, "data": {**data, "sets": [part for part in data["sets"] if part["role"] == "train"]}}
    return found


def deviations(settings: Mapping[str, Any]) -> list[str]:
    """Name what departs from the published training, as the settings of the stages say it."""
    base = settings["distill"]["tokenizer"]["base"]
    latent = settings["distill"]["tokenizer"]["distillation"]
    distill, finetune = settings["distill"]["training"], settings["finetune"]["training"]
    found = [
        (
            base["stem"] > 1,
            f"the base folds {base['stem']} x {base['stem']} pixels into channels before its first level",
        ),
        (
            base["unit_codes"],
            f"base codes have {base['code_size']} numbers and unit length; trained here, from scratch",
        ),
        (
            latent["prediction"] == "similarity",
            "the decoder regresses base code vectors; its logits are scaled distances to the codes",
        ),
        (
            not any(distill["cross_entropy_weights"]),
            "stage 1 has no cross-entropy term, only the squared error of the code vectors",
        ),
        (
            distill["supervised_iterations"] is not None,
            f"stage 1 supervises {distill['supervised_iterations']} sampled iteration a step; iterations unlock one by "
            f"one over {distill['unlock_share']:.0%} of the run",
        ),
        (
            distill["continuous_share"] > 0,
            f"latents are continuous for the first {distill['continuous_share']:.0%} of stage 1; the codebook then "
            f"starts from encoder outputs, and unused codes are drawn again",
        ),
        (
            finetune["adversarial_start"] >= 1 or finetune["adversarial_weight"] == 0,
            "stage 2 has no adversary: pixel and perceptual terms only",
        ),
    ]
    return [sentence for applies, sentence in found if applies]


def card_text(card: Card) -> str:
    """Return a card as Markdown."""
    environment = Environment(loader=PackageLoader("alit.report"), undefined=StrictUndefined, trim_blocks=True)
    tokenizer = card.settings["distill"]["tokenizer"]
    return environment.get_template("card.md").render(
        card=card, tokenizer=tokenizer, departures=deviations(card.settings)
    )


def results_text(
    profile: str,
    *,
    claims: Sequence[Claim],
    table: pd.DataFrame,
    order: Sequence[str],
    differences: Sequence[Difference],
    figures: Sequence[str],
    notes: str,
) -> str:
    """Return the text.

    Args:
        profile: its name.
        claims: the ledger.
        table: the sweep table's columns dataset, length and l1.
        order: names of the sets, in the order to show them.
        differences: from the paper's settings.
        figures: paths of the kept plots.
        notes: what a person has to say about it, Markdown.
    """
    environment = Environment(
        loader=PackageLoader("alit.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=format_number, interval=format_interval)
    return environment.get_template("results.md").render(
        profile=profile,
        claims=claims,
        counts={verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS},
        errors=mean_errors(table, order),
        images=table[table["length"] == 0].groupby("dataset", observed=True).size(),
        differences=differences,
        figures=figures,
        notes=notes,
    )
