"""The KL-VAE base tokenizer of the LDM/MAR family (published-code facts, 2.2).

Image tokens are the latents times `latent_scale`. Named options: a posterior sample or its mode, and whether decoding
undoes the scale (the published code does not, and lets stage 2 absorb it).
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from alit.config.s_base import BaseTokenizerConfig
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.convolution import Upsample, group_norm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm and swish; a 1x1 shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h, w)."""
        branch = self.conv1(F.silu(self.norm1(maps)))
        return self.shortcut(maps) + self.conv2(F.silu(self.norm2(branch)))


class SpatialAttention(nn.Module):
    """Single-head self-attention over the positions of a feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (b, c, h, w) to the same shape."""
        height = maps.shape[2]
        normed = self.norm(maps)
        queries, keys, values = (
            rearrange(project(normed), "b c h w -> b 1 (h w) c") for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return maps + self.out(rearrange(mixed, "b 1 (h w) c -> b c h w", h=height))


class Downsample(nn.Module):
    """A strided 3x3 convolution, padded at the right and bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, c, h / 2, w / 2)."""
        return self.conv(F.pad(maps, (0, 1, 0, 1)))


def _level(inputs: int, outputs: int, blocks: int, *, attention: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for index in range(blocks):
        parts.append(ResidualBlock(inputs if index == 0 else outputs, outputs))
        if attention:
            parts.append(SpatialAttention(outputs))
    return nn.Sequential(*parts)


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(width, width), SpatialAttention(width), ResidualBlock(width, width))


class Encoder(nn.Module):
    """Residual levels with strided convolutions in between."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        inputs = [config.channels, *widths[:-1]]
        self.stem = config.stem
        self.conv_in = nn.Conv2d(3 * config.stem**2, config.channels, 3, padding=1)
        self.levels = nn.ModuleList(
            _level(a, b, config.blocks, attention=config.level_attention and index == len(widths) - 1)
            for index, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.downsamples = nn.ModuleList(Downsample(width) for width in widths[:-1])
        self.middle = _middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.code_size, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (b, 3, h, w) to posterior moments (b, 2z, h / patch, w / patch)."""
        maps = self.conv_in(F.pixel_unshuffle(images, self.stem))
        for index, level in enumerate(self.levels):
            maps = level(maps)
            if index < len(self.downsamples):
                maps = self.downsamples[index](maps)
        return self.conv_out(F.silu(self.norm_out(self.middle(maps))))


class Decoder(nn.Module):
    """The levels in reverse, each with one residual block more."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        inputs = [widths[0], *widths[:-1]]
        self.conv_in = nn.Conv2d(config.code_size, widths[0], 3, padding=1)
        self.middle = _middle(widths[0])
        self.levels = nn.ModuleList(_level(a, b, config.blocks + 1) for a, b in zip(inputs, widths, strict=True))
        self.upsamples = nn.ModuleList(Upsample(width) for width in widths[:-1])
        self.norm_out = group_norm(widths[-1])
        self.stem = config.stem
        self.conv_out = nn.Conv2d(widths[-1], 3 * config.stem**2, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (b, z, h, w) to images (b, 3, h * patch, w * patch)."""
        maps = self.middle(self.conv_in(latents))
        for index, level in enumerate(self.levels):
            maps = level(maps)
            if index < len(self.upsamples):
                maps = self.upsamples[index](maps)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(maps))), self.stem)


class VAE(BaseTokenizer):
    """Convolutional encoder, diagonal Gaussian posterior and decoder."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        self.moments = nn.Conv2d(2 * config.code_size, 2 * config.code_size, 1)
        self.latents_in = nn.Conv2d(config.code_size, config.code_size, 1)
        self.decoder = Decoder(config)

    def encode(self, images: Tensor) -> BaseTokens:
        """Tokenize images (b, 3, h, w) in [0, 1].

        With `sample_posterior` the tokens are drawn from torch's default generator, as published; otherwise they are
        the posterior's mode and encoding is deterministic.
        """
        mean, log_variance = self.moments(self.encoder(images)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-30, 20)
        latents = mean
        if self.config.sample_posterior:
            latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
        tokens = rearrange(latents, "b z h w -> b (h w) z") * self.config.latent_scale
        return BaseTokens(tokens, tokens, None, divergence)

    def decode(self, codes: Tensor) -> Tensor:
        """Rebuild images (b, 3, h, w), not clipped, from scaled latents (b, n, z)."""
        if self.config.rescale_decode:
            codes = codes / self.config.latent_scale
        side = math.isqrt(codes.shape[1])
        return self.decoder(self.latents_in(rearrange(codes, "b (h w) z -> b z h w", h=side)))

    @property
    def codebook(self) -> None:
        """A VAE has no codebook."""
        return None

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight
