"""Settings of the training stages: one optimisation block, and what each stage adds to it."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from alit.config.settings import Settings


class OptimisationConfig(Settings):
    """AdamW with linear warm-up and cosine decay to zero, per step."""

    steps: NonNegativeInt
    batch_size: PositiveInt  # global: split over the processes
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt
    betas: tuple[float, float]
    weight_decay: NonNegativeFloat  # not applied to biases and one-dimensional tensors
    clip_norm: PositiveFloat | None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"]  # Lightning Fabric's names
    ema_decay: float = Field(ge=0, lt=1)  # 0 keeps no average
    save_every: PositiveInt  # steps between resume states
    log_every: PositiveInt  # steps between rows of the log


class BaseTrainingConfig(Settings):
    """Training of the base tokenizer from scratch (the paper starts from published ones)."""

    optimisation: OptimisationConfig
    l1_weight: NonNegativeFloat
    l2_weight: NonNegativeFloat
    perceptual_weight: NonNegativeFloat
    quantiser_weight: NonNegativeFloat  # VQGAN: codebook and commitment
    kl_weight: NonNegativeFloat  # VAE
    revive_every: NonNegativeInt  # steps between re-seeding unused codes from features; 0 never does


class DistillTrainingConfig(Settings):
    """Stage 1: distil the base tokens at every iteration (paper, section 3; published-code facts, 2.9)."""

    optimisation: OptimisationConfig
    cross_entropy_weights: tuple[NonNegativeFloat, ...]  # lambda, one per iteration
    code_weight: NonNegativeFloat  # squared error of the codes; with prediction: regression, lambda weights it instead
    quantiser_weight: NonNegativeFloat
    label_smoothing: float = Field(ge=0, lt=1)  # the paper's "smooth cross-entropy"; published code: 0
    supervised_iterations: PositiveInt | None  # sampled per step; null supervises all, as published
    unlock_share: float = Field(ge=0, le=1)  # share of the run over which iterations unlock; published: 0
    continuous_share: float = Field(ge=0, le=1)  # share of the run before the quantiser is switched in; published: 0
    revive_every: NonNegativeInt  # steps between re-seeding unused latent codes; 0 never does
    halting: bool  # mask well-distilled image tokens between iterations


class ContinuedTrainingConfig(Settings):
    """Stage 2 once more on the networks of `init_from`; all else as in the finetune section, unused from scratch."""

    steps: NonNegativeInt  # 0 takes the networks as they are
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt


class FinetuneTrainingConfig(Settings):
    """Stage 2: pixels, perception and an adversary, one iteration a step (published-code facts, 2.10)."""

    optimisation: OptimisationConfig
    l1_weight: NonNegativeFloat
    perceptual_weight: NonNegativeFloat
    quantiser_weight: NonNegativeFloat
    code_weight: NonNegativeFloat  # keeps the decoder near the base codes; published: 0
    adversarial_weight: NonNegativeFloat
    adversarial_start: float = Field(ge=0, le=1)  # share of the run without an adversary
    adversarial_full: float = Field(ge=0, le=1)  # share of the run after which the full weight applies
    adversarial_early_factor: float = Field(ge=0, le=1)  # weight between start and full; published: 0.2 of 0.8
    discriminator_channels: PositiveInt
    discriminator_layers: PositiveInt
    discriminator_steps: NonNegativeInt  # per generator step once the adversary plays; published: 8
    train_base: bool
