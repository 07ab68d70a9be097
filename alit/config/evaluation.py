"""Settings of what is measured: task models, the sweep, and the analyses."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from alit.config.settings import Settings


class TaskModelConfig(Settings):
    """One task model: a network that looks at images, originals and reconstructions alike."""

    name: str  # suffix of its columns: class_rank_<name>, depth_error_<name>, perceptual_<name>
    kind: Literal["classifier", "depth", "caption", "features"]
    architecture: str  # see alit.tasks.build
    weights: str  # "train" trains it here, "pretrained" loads published weights, "shared" belongs to task/<name>
    input_size: PositiveInt  # pixels per side that the network sees
    train_on: str | None  # a set with role train or task; null: the first with role train
    test_on: str | None  # a set with role task or evaluate, for its card alone; null: the first with role evaluate
    steps: int = Field(ge=0)  # training steps when weights are "train"
    batch_size: PositiveInt
    learning_rate: PositiveFloat


class SweepConfig(Settings):
    """The pass that measures every image at every length."""

    chunk_size: PositiveInt  # images per resumable chunk
    tokenizer_batch: PositiveInt


class AnalysisConfig(Settings):
    """What the studies and the claims ledger ask of the table."""

    resamples: PositiveInt  # bootstrap resamples over images
    confidence: float = Field(gt=0, lt=1)
    l1_thresholds: tuple[float, ...]
    class_ranks: tuple[int, ...]  # top-X criteria
    depth_thresholds: tuple[float, ...]
    perceptual_thresholds: tuple[float, ...]
    caption_thresholds: tuple[float, ...]  # least token F1
    # Task models from weak to strong, the last is the model of record; empty where a profile has none.
    classifiers: tuple[str, ...] = Field(min_length=1)
    depth_models: tuple[str, ...]
    captioners: tuple[str, ...]
    perceptual_model: str
    feature_extractor: str
    familiarity: tuple[str, ...]  # sets ever less like the training images; the first is the next after in-distribution


class AttentionConfig(Settings):
    """Where latents look, compared with segmentation masks (paper, section 5, Tab. 2, Fig. 8, 9, 13, 16)."""

    sets: tuple[str, ...]  # image sets with masks, of any role
    images: PositiveInt | None  # of each set, drawn at random; null takes all
    layer: PositiveInt  # of the latent decoder, from 1
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...]  # of a map that is kept as its segment
    smallest_mask: float = Field(ge=0, lt=1)  # share of the image; smaller masks are left out
    examples: PositiveInt  # images of each set whose maps are shown
    batch_size: int = Field(ge=2)  # a control gives an image the maps of another one of its batch


class CodebookConfig(Settings):
    """The study of token ids."""

    batch_size: PositiveInt
    pairs: PositiveInt  # closest pairs of images kept of each set


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


class ReportConfig(Settings):
    """What the static site shows."""

    example_images: PositiveInt
    example_set: str
