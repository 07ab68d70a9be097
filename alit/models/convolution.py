"""The convolutional parts that the VQGAN and the VAE share."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm of 32 groups as published, or of as many as divide a narrower width."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class Upsample(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, c, 2h, 2w)."""
        return self.conv(F.interpolate(maps, scale_factor=2.0, mode="nearest"))
