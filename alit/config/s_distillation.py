"""Settings."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from alit.config.s_base import BaseTokenizerConfig, Repetitions
from alit.config.settings import Settings


class DistillationConfig(Settings):
    """The recurrent encoder and the latent decoder (paper, section 3; published-code facts, 2.3 to 2.8)."""

    width: PositiveInt  # d
    layers: Repetitions  # encoder and decoder have as many each
    heads: PositiveInt
    tokens_per_iteration: PositiveInt  # s
    iterations: Repetitions  # T
    quantize: bool
    latent_codebook_size: PositiveInt  # m; unused when latents are continuous
    latent_code_size: PositiveInt  # numbers per latent token; 12 as published
    prediction: Literal["logits", "similarity", "regression"]
    similarity_scale: PositiveFloat  # only for prediction: similarity; logits = -scale * squared distance
    # More latents come from another iteration that rewrites all (the paper), or are a longer prefix of one encoding,
    # which the transformer then makes in so many passes (alit.models.nested_encoder). Older checkpoints do not say.
    growth: Literal["recurrent", "nested"] = "recurrent"
    passes: Repetitions = 1  # nested only

    @model_validator(mode="after")
    def _parts_fit(self) -> "DistillationConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.growth == "recurrent" and self.passes > 1:
            raise ValueError(f"growth: recurrent makes one pass an iteration, found passes: {self.passes}")
        return self


class TokenizerConfig(Settings):
    """Everything that fixes the shape of an adaptive tokenizer; travels with each checkpoint."""

    image_size: PositiveInt  # pixels per side
    base: BaseTokenizerConfig
    distillation: DistillationConfig

    @property
    def tokens_per_iteration(self) -> int:
        """Latent tokens that each iteration appends, s."""
        return self.distillation.tokens_per_iteration

    @property
    def iterations(self) -> int:
        """Most iterations, T."""
        return self.distillation.iterations

    @property
    def quantize(self) -> bool:
        """Whether latent tokens are ids of a codebook."""
        return self.distillation.quantize

    @property
    def lengths(self) -> tuple[int, ...]:
        """Latent token counts of one image, shortest first."""
        return tuple(self.tokens_per_iteration * (t + 1) for t in range(self.iterations))

    @property
    def grid(self) -> int:
        """Image tokens per side."""
        return self.image_size // self.base.patch

    @property
    def image_tokens(self) -> int:
        """Number of image tokens, n."""
        return self.grid**2

    @model_validator(mode="after")
    def _parts_fit(self) -> "TokenizerConfig":
        if self.image_size % self.base.patch:
            raise ValueError(f"image_size {self.image_size} must be a multiple of the patch {self.base.patch}")
        if self.base.kind == "vae" and self.distillation.prediction != "regression":
            raise ValueError("a vae base has no codebook to predict: set prediction: regression")
        if self.base.code_size >= self.distillation.width:
            raise ValueError("width must exceed the base's code_size: the rest of a token is its patch embedding")
        return self
