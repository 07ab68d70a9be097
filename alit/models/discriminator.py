"""The adversary of stage 2: a PatchGAN (Isola et al., 2017), as in published-code facts, section 2.10."""

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """4x4 convolutions with batch norm and leaky ReLU that judge overlapping patches.

    `layers` strided convolutions double the width each, up to eight times `channels`; two more keep the resolution.
    Published: 3 layers from 64 channels, one discriminator per iteration. On several processes each normalises
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
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, 1, patches, patches), high for images (b, 3, h, w) in [0, 1] taken for real."""
        return self.body(images)

    @staticmethod
    def smallest_image(layers: int) -> int:
        """Return the least number of pixels a side that leaves one patch: three after the strided layers."""
        return 3 * 2**layers


def _initialise(part: nn.Module) -> None:
    """Draw weights from N(0, 0.02), and scales of batch norms from N(1, 0.02)."""
    if isinstance(part, nn.Conv2d):
        nn.init.normal_(part.weight, 0.0, 0.02)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1.0, 0.02)
        nn.init.zeros_(part.bias)
