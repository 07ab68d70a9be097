"""The objective of stage 1 (paper, section 3; published-code facts, 2.9)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from alit.config.s_distill_training import DistillTrainingConfig
from alit.models.base import BaseTokens
from alit.models.distillation import Distillation, Distilled, Halting


class IterationLoss(NamedTuple):
    """Stage 1's loss of one iteration."""

    total: Tensor
    cross_entropy: Tensor
    code_error: Tensor
    quantizer: Tensor


def iteration_loss(
    distilled: Distilled, targets: BaseTokens, config: DistillTrainingConfig, *, regression: bool
) -> IterationLoss:
    """Return stage 1's loss of one decoded iteration (published-code facts, 2.9).

    VQGAN: lambda * cross-entropy of the base ids + code weight * squared error of the codes + quantizer loss. With
    `regression` (VAE, or codes regressed directly): lambda * squared error of the codes + quantizer loss. lambda is
    the iteration's `cross_entropy_weights`. Label smoothing is the paper's; the published code has none.
    """
    assert distilled.prediction is not None
    weight = config.cross_entropy_weights[distilled.iteration - 1]
    code_error = F.mse_loss(distilled.prediction.codes, targets.codes)
    quantizer = distilled.quantizer_loss
    if regression:
        total = weight * code_error + config.quantiser_weight * quantizer
        return IterationLoss(total, code_error.new_zeros(()), code_error, quantizer)
    assert targets.ids is not None
    cross_entropy = F.cross_entropy(
        rearrange(distilled.prediction.scores, "b n v -> (b n) v"),
        rearrange(targets.ids, "b n -> (b n)"),
        label_smoothing=config.label_smoothing,
    )
    total = weight * cross_entropy + config.code_weight * code_error + config.quantiser_weight * quantizer
    return IterationLoss(total, cross_entropy, code_error, quantizer)


class DistillLosses(NamedTuple):
    """One batch's losses at the supervised iterations, and what keeping the codebook in use needs."""

    total: Tensor
    cross_entropy: Tensor  # (iterations,); zero where codes are regressed
    code_error: Tensor  # (iterations,)
    quantizer: Tensor  # (iterations,)
    raw_codes: Tensor  # (b, k, z) of the last iteration, before the quantizer
    ids: Tensor | None  # (b, all k) of the supervised iterations


class DistillObjective(nn.Module):
    """The sum of `iteration_loss` over the supervised iterations, rolled out as far as the last of them."""

    def __init__(self, distillation: Distillation, config: DistillTrainingConfig) -> None:
        super().__init__()
        self.distillation = distillation
        self.config = config

    def forward(
        self,
        images: Tensor,
        base_tokens: BaseTokens,
        codebook: Tensor | None,
        iterations: tuple[int, ...],
        quantize: bool,
        generator: torch.Generator | None,
    ) -> DistillLosses:
        """Return the losses of images (b, 3, h, w) in [0, 1]; see `Distillation.iterate` for the arguments."""
        losses, ids = [], []
        halting = Halting() if self.config.halting else None
        rollout = self.distillation.iterate(
            images,
            base_tokens,
            codebook,
            last=iterations[-1],
            decode=iterations,
            quantize=quantize,
            halting=halting,
            generator=generator,
        )
        regression = self.distillation.config.distillation.prediction == "regression"
        for distilled in rollout:
            if distilled.iteration in iterations:
                losses.append(iteration_loss(distilled, base_tokens, self.config, regression=regression))
                if distilled.ids is not None:
                    ids.append(distilled.ids)
        return DistillLosses(
            torch.stack([loss.total for loss in losses]).sum(),
            torch.stack([loss.cross_entropy for loss in losses]).detach(),
            torch.stack([loss.code_error for loss in losses]).detach(),
            torch.stack([loss.quantizer for loss in losses]).detach(),
            distilled.raw_codes.detach(),
            torch.cat(ids, dim=1) if ids else None,
        )
