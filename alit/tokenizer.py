"""The adaptive tokenizer: a base tokenizer and the recurrent distillation on top of it, in one object."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from alit.config import TokenizerConfig
from alit.models.base import BaseTokens
from alit.models.build import build_base
from alit.models.distillation import Distillation, Distilled, Halting
from alit.protocol import Reconstruction


class Rollout(NamedTuple):
    """One iteration of the rollout, cheapest first."""

    iteration: int  # 1-based
    length: int  # latent tokens, k
    image_tokens: Tensor  # (b, n, d)
    latents: Tensor  # (b, k, d), before the read-out norm
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    prediction: Tensor  # (b, n, v) logits, or (b, n, z) values for a VAE base
    reconstruction: Tensor | None  # (b, 3, h, w), about [0, 1] but not clipped
    attention: Tensor | None  # (layers, b, n, k), latent decoder, head-averaged


class AdaptiveTokenizer(
    nn.Module,
    PyTorchModelHubMixin,
    coders={
        TokenizerConfig: (
            lambda config: config.model_dump(mode="json"),
            lambda content: TokenizerConfig.model_validate(content),
        )
    },
):
    """Adaptive length image tokenizer (Duggal et al., ICLR 2025).

    Images are float32 (b, 3, h, w) in [0, 1], square, of `config.image_size` pixels a side.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.base = build_base(config.base)
        self.distillation = Distillation(config)

    @property
    def name(self) -> str:
        """Name in tables and figures."""
        return "alit"

    @property
    def image_size(self) -> int:
        """Pixels per side."""
        return self.config.image_size

    @property
    def lengths(self) -> tuple[int, ...]:
        """Latent token counts of one image, shortest first."""
        return self.config.lengths

    @property
    def base_tokens(self) -> int:
        """The most tokens an image can get: what capacities are a share of (paper: 256, as many as image tokens)."""
        return self.config.lengths[-1]

    @property
    def bits_per_token(self) -> int:
        """Bits of one latent token: an id's, or 32 a number when continuous."""
        settings = self.config.distillation
        if settings.quantize:
            return math.ceil(math.log2(settings.latent_codebook_size))
        return 32 * settings.latent_code_size

    def rollout(
        self,
        images: Tensor,
        *,
        reconstruct: bool = True,
        attention: bool = False,
        halting: Halting | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Rollout]:
        """Yield one `Rollout` per iteration; a caller that stops iterating pays for no further iteration.

        Args:
            images: (b, 3, h, w) in [0, 1].
            reconstruct: also decode pixels.
            attention: keep the decoder's attention from image tokens to latents.
            halting: mask well-predicted image tokens between iterations (off in the paper's evaluation phase).
            generator: source of halting's draws.
        """
        base_tokens = self.base.encode(images)
        steps = self.distillation.iterate(
            images, base_tokens, self.base.codebook, attention=attention, halting=halting, generator=generator
        )
        for step in steps:
            yield self._rollout(step, reconstruct)

    def _rollout(self, step: Distilled, reconstruct: bool) -> Rollout:
        assert step.prediction is not None
        return Rollout(
            step.iteration,
            step.length,
            step.image_tokens,
            step.latents,
            step.codes,
            step.ids,
            step.prediction.scores,
            self.base.decode(step.prediction.codes) if reconstruct else None,
            step.attention,
        )

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield reconstructions in [0, 1] at every length, for the sweep."""
        for step in self.rollout(images):
            assert step.reconstruction is not None
            bits = torch.full((len(images),), float(step.length * self.bits_per_token))
            yield Reconstruction(step.length, bits, step.reconstruction.clamp(0, 1))


__all__ = ["AdaptiveTokenizer", "BaseTokens", "Halting", "Rollout"]
