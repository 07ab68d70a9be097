"""Stage 2's two players and how their losses are balanced (published-code facts, 2.10)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alit.config.s_finetune import FinetuneTrainingConfig
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.tokenizer import AdaptiveTokenizer
from alit.training.base_tokens import encode_frozen, frozen_tokens
from alit.training.rollout import distil_at


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss: real logits belong above 1, fake ones below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adaptive_weight(content: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Return the factor that gives the adversarial loss as much gradient at `last_layer` as the content loss.

    As published: |content gradient| / (|adversarial gradient| + 1e-4), between 0 and 1e4, without gradient itself,
    and each process's own.
    """
    content_gradient = torch.autograd.grad(content, last_layer, retain_graph=True)[0]
    adversarial_gradient = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0]
    return (content_gradient.norm() / (adversarial_gradient.norm() + 1e-4)).clamp(0, 1e4).detach()


class Generated(NamedTuple):
    """The losses of the reconstruction from one iteration."""

    l1: Tensor
    perceptual: Tensor
    quantizer: Tensor
    code_error: Tensor
    adversarial: Tensor | None  # where a discriminator judged
    balance: Tensor | None  # its `adaptive_weight`, without gradient


class Generator(nn.Module):
    """The tokenizer with its losses at one iteration.

    The adversary is balanced in here, since Fabric lets no gradient be taken of what a forward pass returned.
    """

    def __init__(
        self, tokenizer: AdaptiveTokenizer, perceptual: PerceptualDistance | None, config: FinetuneTrainingConfig
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.perceptual = perceptual
        self.config = config

    def forward(self, images: Tensor, iteration: int, discriminator: PatchDiscriminator | None = None) -> Generated:
        """Reconstruct images (b, 3, h, w) in [0, 1] from the latents of `iteration` (1-based)."""
        base = self.tokenizer.base
        if self.config.train_base:
            encoded = base.encode(images)
            tokens = frozen_tokens(encoded.features, encoded.ids, base.codebook)
        else:
            tokens = encode_frozen(base, images)
        distilled = distil_at(
            self.tokenizer.distillation, images, tokens, base.codebook, iteration, decode=(iteration,)
        )
        assert distilled.prediction is not None
        reconstruction = base.decode(distilled.prediction.codes)
        l1 = F.l1_loss(reconstruction, images)
        perceptual = l1.new_zeros(())
        if self.perceptual is not None:
            perceptual = self.perceptual(reconstruction, images).mean()
        code_error = F.mse_loss(distilled.prediction.codes, tokens.codes.detach())
        adversarial = balance = None
        if discriminator is not None:
            adversarial = -discriminator(reconstruction).mean()
            content = self.config.l1_weight * l1 + self.config.perceptual_weight * perceptual
            balance = adaptive_weight(content, adversarial, base.last_layer)
        return Generated(l1, perceptual, distilled.quantizer_loss, code_error, adversarial, balance)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, iteration: int) -> Tensor:
        """Return only the reconstruction (b, 3, h, w), without a graph."""
        base = self.tokenizer.base
        tokens = encode_frozen(base, images)
        distilled = distil_at(
            self.tokenizer.distillation, images, tokens, base.codebook, iteration, decode=(iteration,)
        )
        assert distilled.prediction is not None
        return base.decode(distilled.prediction.codes)


class Judged(NamedTuple):
    """The discriminator's loss and its mean logits."""

    loss: Tensor
    real: Tensor
    fake: Tensor


class Judge(nn.Module):
    """The discriminator with its loss; one forward pass holds both kinds of images, as DDP demands."""

    def __init__(self, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Tensor) -> Judged:
        """Judge images and reconstructions (b, 3, h, w); each kind is normalised by itself."""
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        loss = hinge_loss(real_logits, fake_logits)
        return Judged(loss, real_logits.mean().detach(), fake_logits.mean().detach())


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without reaching its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
