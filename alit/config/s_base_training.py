"""Settings."""

from pydantic import NonNegativeFloat, NonNegativeInt

from alit.config.s_optim import OptimisationConfig
from alit.settings import Settings


class BaseTrainingConfig(Settings):
    """Training of the base tokenizer from scratch (the paper starts from published ones)."""

    optimisation: OptimisationConfig
    l1_weight: NonNegativeFloat
    l2_weight: NonNegativeFloat
    perceptual_weight: NonNegativeFloat
    quantiser_weight: NonNegativeFloat  # VQGAN: codebook and commitment
    kl_weight: NonNegativeFloat  # VAE
    revive_every: NonNegativeInt  # steps between re-seeding unused codes from features; 0 never does
