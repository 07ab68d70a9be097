"""Settings of the networks: the base tokenizer and the recurrent distillation on top of it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from alit.config.settings import Settings

# How often something is repeated: beyond this a file is damaged, and building what it says would never end.
Repetitions = Annotated[int, Field(gt=0, le=1024)]


class BaseTokenizerConfig(Settings):
    """A convolutional 2D tokenizer: MaskGIT-style VQGAN or KL-VAE (published-code facts, section 2.2).

    Each level but the last halves the resolution, so the patch of one image token is
    `stem * 2 ** (len(multipliers) - 1)` pixels wide.
    """

    kind: Literal["vqgan", "vae"]
    stem: PositiveInt  # pixels per side that become channels before the first level; published: 1
    channels: PositiveInt  # c, width of the first level
    multipliers: Annotated[
        tuple[PositiveInt, ...], Field(min_length=1, max_length=16)
    ]  # width of each level in units of `channels`
    blocks: Repetitions  # residual blocks per level
    code_size: PositiveInt  # numbers per image token; z = 256 (VQGAN) or 16 (VAE) as published
    codebook_size: PositiveInt | None  # v, VQGAN only; 1024 as published
    unit_codes: bool  # l2-normalised codes and features; published VQGAN: false
    latent_scale: PositiveFloat  # VAE only: factor between latents and image tokens; published: 0.2325
    sample_posterior: bool  # VAE only: tokens are a posterior sample (as published) instead of its mode
    rescale_decode: bool  # VAE only: undo latent_scale before decoding; published: false
    level_attention: bool  # VAE only: self-attention in the encoder's last level; published: true

    @property
    def patch(self) -> int:
        """Pixels per side that one image token stands for."""
        return self.stem * 2 ** (len(self.multipliers) - 1)

    @model_validator(mode="after")
    def _codebook_belongs_to_the_vqgan(self) -> "BaseTokenizerConfig":
        if (self.kind == "vqgan") != (self.codebook_size is not None):
            raise ValueError("codebook_size is a number for kind vqgan and null for kind vae")
        return self


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
