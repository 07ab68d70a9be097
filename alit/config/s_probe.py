"""Settings."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from alit.settings import Settings


class MaeProbeConfig(Settings):
    """Training of the published probe; used by method: mae only."""

    epochs: PositiveInt
    warmup_epochs: int = Field(ge=0)
    batch_size: PositiveInt
    base_learning_rate: PositiveFloat  # of 256 images; the batch's is proportional


class ProbeConfig(Settings):
    """Linear probes of the frozen tokenizer's features (paper, section 5; docs/probe.md)."""

    method: Literal["ridge", "logistic", "mae"]
    train_images: PositiveInt | None  # of the first training set, at most; null takes all
    batch_size: PositiveInt  # images through the tokenizer at once
    seeds: PositiveInt
    draw_share: float = Field(gt=0, le=1)  # of the training images, drawn anew for each seed
    iterations: tuple[PositiveInt, ...] | None  # null takes every one
    tokens: tuple[Literal["image", "latents", "both"], ...]
    stages: tuple[
        Literal["encoder", "quantiser"], ...
    ]  # latents as the encoder leaves them, or as the decoder gets them
    pooling: tuple[Literal["mean", "concatenated"], ...]
    penalties: tuple[PositiveFloat, ...]  # candidates of ridge and logistic, chosen on the training part alone
    folds: int = Field(ge=2)  # of logistic's choice; ridge leaves out one image at a time
    mae: MaeProbeConfig
