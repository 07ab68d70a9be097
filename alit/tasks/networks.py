"""Small networks that the pipeline trains: a weak classifier and depth networks of two sizes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


def convolution_stages(widths: Sequence[int]) -> nn.ModuleList:
    """Return five 3x3 convolutions of the given numbers of channels; the three in the middle halve the sides."""
    strides = (1, 2, 2, 2, 1)
    return nn.ModuleList(
        [_convolution(a, b, stride) for (a, b), stride in zip(pairwise((3, *widths)), strides, strict=True)]
    )


class SmallCNN(nn.Module):
    """Five 3x3 convolutions, 0.1 M weights: the weak classifier.

    It has the part of timm's interface that `alit.tasks.classification.Classifier` uses.
    """

    head_hidden_size = 96

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stages = convolution_stages((24, 32, 48, 64, self.head_hidden_size))
        self.classifier = nn.Linear(96, classes)

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map and all maps (b, c, h, w) of images (b, 3, h, w)."""
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return images, maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (b, classes), or the (b, 96) vector before the last layer."""
        pooled = reduce(maps, "b c h w -> b c", "mean")
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes)."""
        return self.forward_head(self.forward_intermediates(images)[0])


UNET_WIDTHS = {  # architecture -> channels from the finest level to the coarsest
    "small_unet": (24, 40, 64, 96),  # 0.4 M weights
    "unet": (32, 64, 128, 192),  # 1.3 M
}


class UNet(nn.Module):
    """A three-level U-Net that predicts log depth; sides must be multiples of 16.

    It computes at half the resolution of the images, for a quarter of the cost, and enlarges its output.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.entry = _convolution(3, widths[0], stride=2)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList([nn.Sequential(_convolution(a, b, stride=2), _convolution(b, b)) for a, b in pairs])
        self.up = nn.ModuleList([_convolution(a + b, a) for a, b in reversed(pairs)])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return log depth (b, h, w) of images (b, 3, h, w)."""
        skips = [self.entry(images)]
        for down in self.down:
            skips.append(down(skips[-1]))
        maps = skips.pop()
        for up in self.up:
            maps = up(torch.cat([functional.interpolate(maps, scale_factor=2), skips.pop()], dim=1))
        depth = functional.interpolate(self.head(maps), scale_factor=2, mode="bilinear", align_corners=False)
        return depth[:, 0]  # b h w
