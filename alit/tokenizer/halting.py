"""What dynamic halting masks and what it brings: rollouts of the same images with and without it.

After each iteration, image tokens that are distilled well enough are masked: the next iteration sees a mask token in
their place (paper, section 3, Fig. 2). As published they are overwritten and not left out, which saves no operation,
and latents have to be decoded after every iteration to know which they are. Each step counts what leaving them out
would save, and what decoding adds.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import reduce
from torch import Tensor

from alit.errors import NotMeasurable
from alit.models.distillation import Halting, Prediction, TokenizerConfig, chosen_probability
from alit.tokenizer.encoding import Rollout
from alit.tokenizer.tokenizer import AdaptiveTokenizer


class Fidelity(NamedTuple):
    """How well an iteration distills b images."""

    l1: Tensor  # (b,) mean absolute error of the reconstruction in [0, 1]
    open_error: Tensor  # (b,) mean `token_errors` of the tokens that halting left unmasked; 0 where it left none


class HaltingStep(NamedTuple):
    """One iteration of b images with and without halting."""

    iteration: int  # 1-based
    length: int
    halted: Tensor  # (b, n) bool, image tokens masked before this iteration
    without: Fidelity
    halting: Fidelity
    saved: Tensor  # (b,) share of the encoder's operations so far that leaving masked tokens out would have saved
    decoding: float  # operations of decoding latents to know what to mask, as a share of the encoder's so far


@torch.no_grad()
def compare_halting(
    tokenizer: AdaptiveTokenizer, images: Tensor, halting: Halting, generator: torch.Generator
) -> Iterator[HaltingStep]:
    """Roll images (b, 3, h, w) in [0, 1] out with and without halting, and yield both at each iteration.

    Raises:
        NotMeasurable: the tokenizer has a single pass, between which nothing can be masked.
    """
    settings = tokenizer.config.distillation
    if settings.growth != "recurrent" or settings.iterations == 1:
        raise NotMeasurable("halting masks between iterations, and this tokenizer makes one pass")
    plain = tokenizer.rollout(images)
    masked = tokenizer.rollout(images, halting=halting, generator=generator)
    spent = decoding = 0.0
    saved = torch.zeros(len(images), device=images.device)
    for without, with_halting in zip(plain, masked, strict=True):
        halted = with_halting.halted
        assert halted is not None
        whole = operations(tokenizer.config, without.length, torch.zeros(())).item()
        spent += whole
        saved = saved + whole - operations(tokenizer.config, without.length, halted.sum(-1))
        yield HaltingStep(
            without.iteration,
            without.length,
            halted,
            _fidelity(images, without, ~halted),
            _fidelity(images, with_halting, ~halted),
            saved / spent,
            decoding / spent,
        )
        decoding += whole  # the latent decoder has as many layers over as long a sequence


def token_errors(step: Rollout) -> Tensor:
    """Return how far each image token (b, n) is from distilled: 1 - the probability of its base id.

    Of a base without ids the mean absolute error of its code, which is what halting goes by there.
    """
    if step.base.ids is None:
        return (step.predicted_codes - step.base.codes).abs().mean(-1)
    return 1 - chosen_probability(Prediction(step.prediction, step.predicted_codes), step.base.ids)


def operations(config: TokenizerConfig, length: int, masked: Tensor) -> Tensor:
    """Return the multiplications and additions (...) of one encoder iteration without `masked` (...) image tokens.

    A layer of width d over s tokens takes 24 s d^2 for its linear maps and 4 s^2 d for its attention.
    """
    settings = config.distillation
    tokens = 1 + config.image_tokens + length - masked.double()
    return settings.layers * (24.0 * tokens * settings.width**2 + 4.0 * tokens**2 * settings.width)


def _fidelity(images: Tensor, step: Rollout, is_open: Tensor) -> Fidelity:
    assert step.reconstruction is not None
    loss = reduce((step.reconstruction.clamp(0, 1) - images).abs(), "b c h w -> b", "mean")
    return Fidelity(loss, (token_errors(step) * is_open).sum(-1) / is_open.sum(-1).clamp_min(1))
