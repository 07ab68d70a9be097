"""Settings."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from alit.config.s_optim import OptimisationConfig
from alit.settings import Settings


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
