"""Networks of the losses: a perceptual distance on any trunk, and a PatchGAN discriminator."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def perceptual_distance(
    maps: Sequence[Tensor], others: Sequence[Tensor], channel_weights: Sequence[Tensor] | None = None
) -> Tensor:
    """Return (b,) distances between two lists of feature maps (b, c, h, w), one pair per layer.

    Each position's channel vector is scaled to unit length; squared differences are summed over channels, averaged
    over space and summed over layers. `channel_weights`, (c,) per layer, weight the channels where a trunk has
    learned some: with LPIPS's trunk and weights this is LPIPS, on any other trunk it must not be called so.
    """
    distances = []
    for layer, (a, b) in enumerate(zip(maps, others, strict=True)):
        squared = (_unit_channels(a) - _unit_channels(b)).square()  # b c h w
        if channel_weights is not None:
            squared = squared * channel_weights[layer][:, None, None]
        distances.append(squared.sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(distances).sum(dim=0)


def _unit_channels(maps: Tensor) -> Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()


class PerceptualDistance(nn.Module):
    """The distance through one frozen trunk, as a training loss.

    The trunk takes images in [0, 1] and rescales them itself, LPIPS's VGG to the [-1, 1] that it was trained on. It
    stays in eval mode whatever the training loop says. Deviations from the published code, where LPIPS gets [0, 1],
    runs with its dropout on, and exists once per iteration (docs/paper-or-code.md).
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return distances (b,) of images (b, 3, h, w), about [0, 1], from targets, which get no gradient."""
        with torch.no_grad():
            reference = self.trunk(targets)
        # Only LPIPS's own trunk comes with learned channel weights.
        return perceptual_distance(self.trunk(images), reference, getattr(self.trunk, "channel_weights", None))


class PatchDiscriminator(nn.Module):
    """4x4 convolutions with batch norm and leaky ReLU that judge overlapping patches (PatchGAN, Isola et al. 2017).

    `layers` strided convolutions double the width each, up to eight times `channels`; two more keep the resolution.
    Published: 3 layers from 64 channels, one discriminator per iteration. On several processes each normalizes
    over its own images.
    """

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        widths = [channels * min(2**layer, 8) for layer in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer in range(1, layers + 1):
            stride = 2 if layer < layers else 1
            parts += [
                nn.Conv2d(widths[layer - 1], widths[layer], 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[layer]),
                nn.LeakyReLU(0.2),
            ]
        self.body = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, 1, patches, patches), high for images (b, 3, h, w) in [0, 1] taken for real."""
        return self.body(images)

    @staticmethod
    def smallest_image(layers: int) -> int:
        """Return the least number of pixels a side that leaves one patch: three after the strided layers."""
        return 3 * 2**layers


def _initialize(part: nn.Module) -> None:
    """Draw weights from N(0, 0.02), and scales of batch norms from N(1, 0.02)."""
    if isinstance(part, nn.Conv2d):
        nn.init.normal_(part.weight, 0.0, 0.02)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1.0, 0.02)
        nn.init.zeros_(part.bias)
