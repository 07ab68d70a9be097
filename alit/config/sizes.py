"""The published sizes, by the names that the authors' code gives them (published-code facts, 2.1 and 2.2)."""

from typing import NamedTuple

from alit.models.base import BaseTokenizerConfig
from alit.models.distillation import DistillationConfig, TokenizerConfig


class Size(NamedTuple):
    """What tells the published models apart."""

    width: int
    layers: int  # of the encoder, and as many of the latent decoder
    heads: int


SIZES = {
    "tiny": Size(512, 8, 8),
    "small": Size(1024, 8, 8),
    "base": Size(768, 12, 12),
    "semilarge": Size(1024, 16, 16),
}


def published_config(size: str) -> TokenizerConfig:
    """Return the settings of a published size, one of `SIZES`: 256 px, VQGAN base, 32 to 256 quantized latents."""
    width, layers, heads = SIZES[size]
    base = BaseTokenizerConfig(
        kind="vqgan",
        stem=1,
        channels=128,
        multipliers=(1, 1, 2, 2, 4),
        blocks=2,
        code_size=256,
        codebook_size=1024,
        unit_codes=False,
        latent_scale=1.0,
        sample_posterior=False,
        rescale_decode=False,
        level_attention=False,
    )
    distillation = DistillationConfig(
        width=width,
        layers=layers,
        heads=heads,
        tokens_per_iteration=32,
        iterations=8,
        quantize=True,
        latent_codebook_size=4096,
        latent_code_size=12,
        prediction="logits",
        similarity_scale=10.0,
    )
    return TokenizerConfig(image_size=256, base=base, distillation=distillation)
