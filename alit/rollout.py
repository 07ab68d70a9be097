"""One iteration of the rollout, as a caller sees it."""

from typing import NamedTuple

from torch import Tensor

from alit.models.base import BaseTokens


class Rollout(NamedTuple):
    """What one iteration has made of a batch of b images; `AdaptiveTokenizer.rollout` yields them cheapest first."""

    iteration: int  # 1-based
    length: int  # latent tokens, k
    image_tokens: Tensor | None  # (b, n, d); None at the last iteration unless asked for
    latents: Tensor  # (b, k, d), before the read-out norm
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    prediction: Tensor  # (b, n, v) logits, or (b, n, c) values for a VAE base
    predicted_codes: Tensor  # (b, n, c), what the base decoder receives
    base: BaseTokens  # the image tokens that the prediction is about
    reconstruction: Tensor | None  # (b, 3, h, w), about [0, 1] but not clipped; None unless asked for
    attention: Tensor | None  # (layers, b, n, k), latent decoder, head-averaged; None unless asked for
