"""Tokenizers small enough for a test: every field stated, one call to vary a few."""

from typing import Any

import torch

from alit.models.base import BaseTokenizerConfig
from alit.models.distillation import DistillationConfig, TokenizerConfig
from alit.tokenizer.tokenizer import AdaptiveTokenizer


def base_config(**changes: Any) -> BaseTokenizerConfig:
    """A VQGAN of 16 codes x 4 numbers with a patch of 4 pixels; kind="vae" gives a VAE of 4 channels."""
    settings: dict[str, Any] = {
        "kind": "vqgan",
        "stem": 1,
        "channels": 4,
        "multipliers": (1, 2, 2),
        "blocks": 1,
        "code_size": 4,
        "codebook_size": None if changes.get("kind") == "vae" else 16,
        "unit_codes": False,
        "latent_scale": 0.2325,
        "sample_posterior": False,
        "rescale_decode": True,
        "level_attention": False,
    }
    return BaseTokenizerConfig(**(settings | changes))


def tokenizer_config(base: dict[str, Any] | None = None, *, image_size: int = 16, **changes: Any) -> TokenizerConfig:
    """Three iterations of two latents over a 4x4 grid of image tokens; `changes` go to the distillation."""
    base_settings = base_config(**(base or {}))
    settings: dict[str, Any] = {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "tokens_per_iteration": 2,
        "iterations": 3,
        "quantize": True,
        "latent_codebook_size": 16,
        "latent_code_size": 6,
        "prediction": "logits" if base_settings.kind == "vqgan" else "regression",
        "similarity_scale": 10.0,
    }
    distillation = DistillationConfig(**(settings | changes))
    return TokenizerConfig(image_size=image_size, base=base_settings, distillation=distillation)


def tokenizer(config: TokenizerConfig | None = None, seed: int = 0) -> AdaptiveTokenizer:
    """A tokenizer with random weights that depend on `seed` alone; a linear path of latents is that of `images`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AdaptiveTokenizer(config or tokenizer_config()).eval()
    if model.distillation.linear is not None:
        with torch.no_grad():
            model.distillation.linear.fit([model.base.encode(images(64, model.image_size)).features])
    return model


def images(count: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Random images (count, 3, size, size) in [0, 1]."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def telling_tokenizer(batch: torch.Tensor) -> AdaptiveTokenizer:
    """A tokenizer whose first ids tell the images of a batch apart: its codes are read off them."""
    model = tokenizer(tokenizer_config(latent_codebook_size=3 * len(batch)))
    assert model.distillation.quantizer is not None
    codes = [model.distillation.encoder.read_out(step.latents[:, 0]) for step in model.rollout(batch)]
    model.distillation.quantizer.embedding.copy_(torch.cat(codes))
    return model
