"""The card of a zoo checkpoint: what it is, what it was trained on, for how long, and how good it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    data: str  # of the training set
    validation: str
    images: int  # validation images
    settings: Mapping[str, Any]  # stage -> its training.json
    costs: Sequence[StageCost]
    base: LengthScore  # the 2D base tokenizer alone
    scores: Sequence[LengthScore]
    perplexity: float  # of the latent codebook over the validation images, at the longest length
    sha256: Mapping[str, str]  # file -> digest


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
            f"starts from encoder outputs, and unused codes are drawn anew",
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
