"""Settings."""

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
