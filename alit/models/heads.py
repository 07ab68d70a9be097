"""From the latent decoder's hidden tokens to what the base decoder needs: three heads, one output type."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from alit.config.s_distillation import TokenizerConfig


class Prediction(NamedTuple):
    """The latent decoder's answer for every image token."""

    scores: Tensor  # (b, n, v) logits over the base codebook, or (b, n, z) values for a continuous base
    codes: Tensor  # (b, n, z), what the base decoder receives


class LogitHead(nn.Module):
    """Logits over the base codebook; the code is their expectation, the "soft code" (published-code facts, 2.7)."""

    def __init__(self, width: int, codes: int) -> None:
        super().__init__()
        self.mlp = _mlp(width, codes)

    def forward(self, hidden: Tensor, codebook: Tensor) -> Prediction:
        """Predict from hidden (b, n, d) over a codebook (v, z), which gets no gradient."""
        logits = self.mlp(hidden)
        return Prediction(logits, logits.softmax(dim=-1) @ codebook.detach())


class RegressionHead(nn.Module):
    """The code itself, as published for the VAE base."""

    def __init__(self, width: int, code_size: int) -> None:
        super().__init__()
        self.mlp = _mlp(width, code_size)

    def forward(self, hidden: Tensor, codebook: Tensor | None) -> Prediction:
        """Predict from hidden (b, n, d); scores and codes are the same values."""
        codes = self.mlp(hidden)
        return Prediction(codes, codes)


class SimilarityHead(nn.Module):
    """A regressed code vector, whose logits are its scaled negative squared distances to the base codes.

    A deviation from the published logit head: at small scale a regression target teaches the latents where a
    softmax over unrelated classes does not, and the paper's cross-entropy still applies to the logits.
    """

    def __init__(self, width: int, code_size: int, scale: float) -> None:
        super().__init__()
        self.mlp = _mlp(width, code_size)
        self.scale = scale

    def forward(self, hidden: Tensor, codebook: Tensor) -> Prediction:
        """Predict from hidden (b, n, d) over a codebook (v, z), which gets no gradient."""
        codes = self.mlp(hidden)
        codebook = codebook.detach()
        # The squared norm of the prediction is the same for every class: the softmax does not see it.
        distances = codebook.square().sum(dim=-1) - 2 * codes @ codebook.T
        return Prediction(-self.scale * distances, codes)


def build_head(config: TokenizerConfig) -> LogitHead | RegressionHead | SimilarityHead:
    """Return the head that `config.distillation.prediction` names."""
    width = config.distillation.width
    if config.distillation.prediction == "logits":
        assert config.base.codebook_size is not None
        return LogitHead(width, config.base.codebook_size)
    if config.distillation.prediction == "similarity":
        return SimilarityHead(width, config.base.code_size, config.distillation.similarity_scale)
    return RegressionHead(width, config.base.code_size)


def _mlp(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, outputs))


def chosen_probability(prediction: Prediction, ids: Tensor) -> Tensor:
    """Return the probability (b, n) that a prediction over the codebook gives to the base ids (b, n)."""
    return torch.gather(prediction.scores.softmax(dim=-1), -1, ids[..., None])[..., 0]
