"""The VQGAN base tokenizer of the MaskGIT/MAGE family (published-code facts, 2.2).

Kept for weight compatibility: where a residual block changes width, its 1x1 shortcut is applied to the residual
branch itself and the block's input is dropped. Named deviations: `unit_codes` normalises features and codes, and
`stem` folds squares of pixels into channels, so that no convolution runs at full resolution: most of the time there.
"""

import itertools
import math

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from alit.config.s_base import BaseTokenizerConfig
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.convolution import Upsample, group_norm
from alit.models.quantizer import VectorQuantizer


class ResidualBlock(nn.Module):
    """Two bias-free 3x3 convolutions with group norm and swish."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm2 = group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(outputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, maps: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h, w)."""
        branch = self.conv1(F.silu(self.norm1(maps)))
        branch = self.conv2(F.silu(self.norm2(branch)))
        return branch + (maps if self.shortcut is None else self.shortcut(branch))


def _level(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    widths = [inputs] + [outputs] * blocks
    return nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(widths)))


class Encoder(nn.Module):
    """Residual levels with 2x2 average pooling in between."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        self.stem = config.stem
        self.conv_in = nn.Conv2d(3 * config.stem**2, config.channels, 3, padding=1, bias=False)
        inputs = [config.channels, *widths[:-1]]
        self.levels = nn.ModuleList(_level(a, b, config.blocks) for a, b in zip(inputs, widths, strict=True))
        self.middle = _level(widths[-1], widths[-1], 2)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.code_size, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (b, 3, h, w) to features (b, z, h / patch, w / patch)."""
        maps = self.conv_in(F.pixel_unshuffle(images, self.stem))
        for index, level in enumerate(self.levels):
            maps = level(maps if index == 0 else F.avg_pool2d(maps, 2))
        return self.conv_out(F.silu(self.norm_out(self.middle(maps))))


class Decoder(nn.Module):
    """The encoder's levels in reverse, with nearest-neighbour upsampling in between."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        self.conv_in = nn.Conv2d(config.code_size, widths[0], 3, padding=1)
        self.middle = _level(widths[0], widths[0], 2)
        inputs = [widths[0], *widths[:-1]]
        self.levels = nn.ModuleList(_level(a, b, config.blocks) for a, b in zip(inputs, widths, strict=True))
        self.upsamples = nn.ModuleList(Upsample(width) for width in widths[:-1])
        self.norm_out = group_norm(widths[-1])
        self.stem = config.stem
        self.conv_out = nn.Conv2d(widths[-1], 3 * config.stem**2, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (b, z, h, w) to images (b, 3, h * patch, w * patch)."""
        maps = self.middle(self.conv_in(codes))
        for index, level in enumerate(self.levels):
            maps = level(maps)
            if index < len(self.upsamples):
                maps = self.upsamples[index](maps)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(maps))), self.stem)


class VQGAN(BaseTokenizer):
    """Convolutional encoder, codebook and decoder."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__(config)
        assert config.codebook_size is not None
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantizer = VectorQuantizer(config.codebook_size, config.code_size, unit=config.unit_codes)

    def encode(self, images: Tensor) -> BaseTokens:
        """Tokenize images (b, 3, h, w) in [0, 1]; features are the vectors before quantisation."""
        features = rearrange(self.encoder(images), "b z h w -> b (h w) z")
        if self.config.unit_codes:
            features = F.normalize(features, dim=-1)
        quantized = self.quantizer(features)
        return BaseTokens(features, quantized.codes, quantized.ids, quantized.loss)

    def decode(self, codes: Tensor) -> Tensor:
        """Rebuild images (b, 3, h, w), not clipped, from code vectors (b, n, z)."""
        side = math.isqrt(codes.shape[1])
        return self.decoder(rearrange(codes, "b (h w) z -> b z h w", h=side))

    @property
    def codebook(self) -> Tensor:
        """Code vectors (v, z)."""
        return self.quantizer.codebook

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight
