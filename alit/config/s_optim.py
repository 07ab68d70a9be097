"""Settings."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from alit.settings import Settings


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
