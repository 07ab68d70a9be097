"""Rolling the distillation out for training: to one iteration, and no further."""

from collections.abc import Collection

from torch import Tensor

from alit.models.base import BaseTokens
from alit.models.distillation import Distillation, Distilled


def distil_at(
    distillation: Distillation,
    images: Tensor,
    base_tokens: BaseTokens,
    codebook: Tensor | None,
    iteration: int,
    *,
    decode: Collection[int],
    quantize: bool = True,
) -> Distilled:
    """Roll out to `iteration` (1-based) and no further, and return it, without its image tokens."""
    rollout = distillation.iterate(images, base_tokens, codebook, last=iteration, decode=decode, quantize=quantize)
    return next(distilled for distilled in rollout if distilled.iteration == iteration)
