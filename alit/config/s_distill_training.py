"""Settings."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from alit.config.s_optim import OptimisationConfig
from alit.settings import Settings


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
