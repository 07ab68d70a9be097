"""Recurrent distillation: encoder, latent quantiser and decoder, one iteration after another (paper, section 3)."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alit.config.s_distillation import TokenizerConfig
from alit.models.base import BaseTokens
from alit.models.heads import Prediction, chosen_probability
from alit.models.latent_decoder import LatentDecoder
from alit.models.latent_encoder import LatentEncoder
from alit.models.nested_encoder import NestedEncoder
from alit.models.quantizer import VectorQuantizer

ENCODERS: dict[str, type[LatentEncoder]] = {"recurrent": LatentEncoder, "nested": NestedEncoder}


class Halting(NamedTuple):
    """When an image token counts as distilled well enough to be masked (published-code facts, 2.6)."""

    probability: float = 0.55  # VQGAN base: least probability of the base id
    distance: float = 0.025  # VAE base: most mean absolute error of the code


class Distilled(NamedTuple):
    """One iteration of the rollout."""

    iteration: int  # 1-based
    length: int  # latent tokens so far, k
    image_tokens: Tensor | None  # (b, n, d), refined by the encoder; None at `last`, which computes latents only
    latents: Tensor  # (b, k, d), before the read-out norm
    raw_codes: Tensor  # (b, k, z), read out, before the quantiser
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    quantizer_loss: Tensor  # scalar, zero when continuous
    prediction: Prediction | None  # None where decoding was not asked for
    attention: Tensor | None  # (layers, b, n, k)


class ReadOut(NamedTuple):
    """Latents read out as codes."""

    raw_codes: Tensor  # (b, k, z), before the quantizer
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    quantizer_loss: Tensor  # scalar, zero when continuous


class Distillation(nn.Module):
    """Everything that is trained on top of the frozen base tokenizer in stage 1."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        settings = config.distillation
        self.encoder = ENCODERS[settings.growth](config)
        self.decoder = LatentDecoder(config)
        self.quantizer = (
            VectorQuantizer(settings.latent_codebook_size, settings.latent_code_size, unit=True)
            if settings.quantize
            else None
        )

    def iterate(
        self,
        images: Tensor,
        base_tokens: BaseTokens,
        codebook: Tensor | None,
        *,
        last: int | None = None,
        decode: Collection[int] | None = None,
        quantize: bool = True,
        attention: bool = False,
        halting: Halting | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Distilled]:
        """Roll the encoder out, yielding one `Distilled` per iteration; stop iterating to stop paying.

        Args:
            images: (b, 3, h, w) in [0, 1].
            base_tokens: the base tokenizer's tokens of the same images.
            codebook: (v, z) of the base tokenizer, or None for a continuous base.
            last: the 1-based iteration to end with, where its latents are all that is needed: its last layer
                computes no image tokens. None runs all iterations and yields the image tokens of each.
            decode: 1-based iterations whose image tokens the decoder predicts; None decodes all.
            quantize: False bypasses the latent quantiser, as continuous warm-up of a quantised model does.
            attention: keep the decoder's maps from image tokens to latents.
            halting: mask well-predicted image tokens between iterations; needs `generator`, and every iteration
                is decoded. Not sticky: each iteration masks anew.
            generator: source of the Bernoulli draws of halting, on the images' device.
        """
        sequence = self.encoder.start(images, base_tokens.features)
        first_latent = sequence.shape[1]
        for iteration in range(1, (last or self.config.iterations) + 1):
            if iteration == last:
                image_tokens, output = None, self.encoder.iterate(sequence, iteration, self.encoder.latent_rows)
            else:
                output = sequence = self.encoder.iterate(sequence, iteration)
                image_tokens = sequence[:, 1:first_latent]
            latents = self.encoder.latents(output, iteration)
            read = self.read(latents, quantize=quantize)
            wanted = decode is None or iteration in decode or halting is not None
            decoded = self.decoder(read.codes, codebook, attention=attention) if wanted else None
            yield Distilled(
                iteration,
                latents.shape[1],
                image_tokens,
                latents,
                read.raw_codes,
                read.codes,
                read.ids,
                read.quantizer_loss,
                decoded.prediction if decoded else None,
                decoded.attention if decoded else None,
            )
            if halting is not None and decoded is not None and iteration != last:
                halted = draw_halted(decoded.prediction, base_tokens, halting, generator)
                sequence = self.encoder.mask(sequence, halted)

    def read(self, latents: Tensor, *, quantize: bool = True) -> ReadOut:
        """Read latents (b, k, d) out as codes, quantised where the settings and `quantize` say so."""
        raw_codes = self.encoder.read_out(latents)
        if self.quantizer is None:
            return ReadOut(raw_codes, raw_codes, None, raw_codes.new_zeros(()))
        if not quantize:  # as long as codes are, so that the decoder keeps its range when the quantizer joins
            return ReadOut(raw_codes, F.normalize(raw_codes, dim=-1), None, raw_codes.new_zeros(()))
        quantized = self.quantizer(raw_codes)
        return ReadOut(raw_codes, quantized.codes, quantized.ids, quantized.loss)


def draw_halted(
    prediction: Prediction, base_tokens: BaseTokens, halting: Halting, generator: torch.Generator | None
) -> Tensor:
    """Return which image tokens (b, n) to mask.

    VQGAN base: a token whose base id has probability p >= `halting.probability` is masked with probability p.
    VAE base: a token is masked when its code's mean absolute error is below `halting.distance` (the paper's intent;
    the published code never masks there).
    """
    if base_tokens.ids is None:
        return (prediction.codes - base_tokens.codes).abs().mean(dim=-1) < halting.distance
    probability = chosen_probability(prediction, base_tokens.ids).detach()
    drawn = torch.rand(probability.shape, generator=generator, device=probability.device) < probability
    return (probability >= halting.probability) & drawn
