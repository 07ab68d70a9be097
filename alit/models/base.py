"""Base tokenizers: the 2D VQGAN and KL-VAE that turn an image into a grid of image tokens.

`alit.models.loading` builds one of any kind; those of diffusers are in `alit.models.diffusers_base`.
"""

import itertools
import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn

from alit.models.linear_path import LinearPath, start_near_zero
from alit.models.quantizer import VectorQuantizer
from alit.settings import Settings

# How often something is repeated: beyond this a file is damaged, and building what it says would never end.
Repetitions = Annotated[int, Field(gt=0, le=1024)]
ORIGIN = ("pretrained", "sha256", "dtype")
NARROW = -10.0  # log-variance of a posterior that a linear path starts with: a deviation of 0.007


class BaseTokenizerConfig(Settings):
    """A convolutional 2D tokenizer: MaskGIT-style VQGAN or KL-VAE (docs/paper-or-code.md).

    Each level but the last halves the resolution, so the patch of one image token is
    `stem * 2 ** (len(multipliers) - 1)` pixels wide.
    """

    kind: Literal["vqgan", "vae"]
    stem: PositiveInt  # pixels per side that become channels before the first level; published: 1
    channels: PositiveInt  # c, width of the first level
    # Width of each level in units of `channels`.
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=16)]
    blocks: Repetitions  # residual blocks per level
    code_size: PositiveInt  # z, numbers per image token; 256 (VQGAN) or 16 (VAE) as published
    codebook_size: PositiveInt | None  # v, VQGAN only; 1024 as published
    unit_codes: bool  # l2-normalized codes and features; published VQGAN: false
    latent_scale: PositiveFloat  # VAE only: factor between latents and image tokens; published: 0.2325
    sample_posterior: bool  # VAE only: tokens are a posterior sample (as published) instead of its mode
    rescale_decode: bool  # VAE only: undo latent_scale before decoding; published: false
    level_attention: bool  # VAE only: self-attention in the encoder's last level; published: true
    linear_path: bool = False  # a linear transform of each patch around the networks (`alit.models.linear_path`)
    # Published weights instead of trained ones: a file, a folder that holds it, or a hub id (`alit.models.loading`).
    pretrained: str | None = None
    sha256: str | None = None  # of those weights; see `alit.models.weights.weights_sha256`
    dtype: Literal["float16", "float32"] | None = None  # that they were published in, and are hashed in

    @property
    def patch(self) -> int:
        """Pixels per side that one image token stands for."""
        return self.stem * 2 ** (len(self.multipliers) - 1)

    @model_serializer(mode="wrap")
    def _without_an_origin(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out where it says nothing what most checkpoints have no key for: origin of the weights, linear path."""
        content = dump(self)
        silent = {*(() if self.pretrained else ORIGIN), *(() if self.linear_path else ("linear_path",))}
        return {key: content[key] for key in content if key not in silent}

    @model_validator(mode="after")
    def _codebook_belongs_to_the_vqgan(self) -> "BaseTokenizerConfig":
        if (self.kind == "vqgan") != (self.codebook_size is not None):
            raise ValueError("codebook_size is a number for kind vqgan and null for kind vae")
        return self

    @model_validator(mode="after")
    def _linear_path_has_room(self) -> "BaseTokenizerConfig":
        if self.linear_path and self.unit_codes:
            raise ValueError(
                "linear_path needs unit_codes: false, since a normalized code has lost the patch's contrast"
            )
        if self.linear_path and self.kind == "vae" and not self.rescale_decode:
            raise ValueError("linear_path of a vae needs rescale_decode: true, since its codes are in units of pixels")
        if self.linear_path and self.code_size > (numbers := 3 * self.patch**2):
            raise ValueError(
                f"linear_path: expected code_size of at most {numbers} numbers of a patch, found {self.code_size}"
            )
        return self


class BaseTokens(NamedTuple):
    """The image tokens of a batch, in raster order."""

    features: Tensor  # (b, n, z), what the distillation encoder sees: before quantization, or scaled latents
    codes: Tensor  # (b, n, z), what the latent decoder has to rebuild: code vectors, or scaled latents
    ids: Tensor | None  # (b, n) int64, indices into the codebook; None for a VAE
    loss: Tensor  # scalar: quantizer loss, or KL divergence per image in nats


class BaseTokenizer(nn.Module, ABC):
    """Images (b, 3, h, w) in [0, 1] to image tokens and back; h and w are multiples of the patch."""

    config: Any  # the settings of its kind

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def encode(self, images: Tensor) -> BaseTokens:
        """Tokenize images (b, 3, h, w) in [0, 1]."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Rebuild images (b, 3, h, w), about [0, 1] but not clipped, from codes (b, n, z) of a square grid."""

    @property
    @abstractmethod
    def codebook(self) -> Tensor | None:
        """Code vectors (v, z), or None when tokens are continuous."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution, where the adversarial weight is balanced."""


def _linear_path(config: BaseTokenizerConfig, *last_layers: nn.Conv2d) -> LinearPath | None:
    """Return the linear path that the settings ask for, and let the networks around which it leads start near zero."""
    if not config.linear_path:
        return None
    for layer in last_layers:
        start_near_zero(layer)
    return LinearPath(config.patch, config.code_size)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm of 32 groups as published, or of as many as divide a narrower width."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class Upsample(nn.Module):
    """Nearest-neighbor doubling and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, c, 2h, 2w)."""
        return self.conv(F.interpolate(maps, scale_factor=2.0, mode="nearest"))


class VQGANBlock(nn.Module):
    """Two bias-free 3x3 convolutions with group norm and swish.

    Where the width changes, the 1x1 shortcut is applied to the branch and the block's input is dropped: a quirk of the
    published VQGAN, kept so that its weights fit.
    """

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


def _vqgan_level(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    widths = [inputs] + [outputs] * blocks
    return nn.Sequential(*(VQGANBlock(a, b) for a, b in itertools.pairwise(widths)))


class VQGANEncoder(nn.Module):
    """Residual levels with 2x2 average pooling in between."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        self.stem = config.stem
        self.conv_in = nn.Conv2d(3 * config.stem**2, config.channels, 3, padding=1, bias=False)
        inputs = [config.channels, *widths[:-1]]
        self.levels = nn.ModuleList(_vqgan_level(a, b, config.blocks) for a, b in zip(inputs, widths, strict=True))
        self.middle = _vqgan_level(widths[-1], widths[-1], 2)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.code_size, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (b, 3, h, w) to features (b, z, h / patch, w / patch)."""
        maps = self.conv_in(F.pixel_unshuffle(images, self.stem))
        for index, level in enumerate(self.levels):
            maps = level(maps if index == 0 else F.avg_pool2d(maps, 2))
        return self.conv_out(F.silu(self.norm_out(self.middle(maps))))


class VQGANDecoder(nn.Module):
    """The encoder's levels in reverse, with nearest-neighbor upsampling in between."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        self.conv_in = nn.Conv2d(config.code_size, widths[0], 3, padding=1)
        self.middle = _vqgan_level(widths[0], widths[0], 2)
        inputs = [widths[0], *widths[:-1]]
        self.levels = nn.ModuleList(_vqgan_level(a, b, config.blocks) for a, b in zip(inputs, widths, strict=True))
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
    """Convolutional encoder, codebook and decoder of the MaskGIT and MAGE family.

    Two named deviations: `unit_codes` normalizes features and codes, and `stem` folds squares of pixels into channels,
    so that no convolution runs at full resolution, where most of the time would go.
    """

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__(config)
        assert config.codebook_size is not None
        self.encoder = VQGANEncoder(config)
        self.decoder = VQGANDecoder(config)
        self.linear = _linear_path(config, self.encoder.conv_out, self.decoder.conv_out)
        self.quantizer = VectorQuantizer(config.codebook_size, config.code_size, unit=config.unit_codes)

    def encode(self, images: Tensor) -> BaseTokens:
        """Tokenize images (b, 3, h, w) in [0, 1]; features are the vectors before quantization."""
        maps = self.encoder(images)
        if self.linear is not None:
            maps = maps + self.linear.encode(images)
        features = rearrange(maps, "b z h w -> b (h w) z")
        if self.config.unit_codes:
            features = F.normalize(features, dim=-1)
        quantized = self.quantizer(features)
        return BaseTokens(features, quantized.codes, quantized.ids, quantized.loss)

    def decode(self, codes: Tensor) -> Tensor:
        """Rebuild images (b, 3, h, w), not clipped, from code vectors (b, n, z)."""
        maps = rearrange(codes, "b (h w) z -> b z h w", h=math.isqrt(codes.shape[1]))
        images = self.decoder(maps)
        return images if self.linear is None else images + self.linear.decode(maps)

    @property
    def codebook(self) -> Tensor:
        """Code vectors (v, z)."""
        return self.quantizer.codebook

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight


class VAEBlock(nn.Module):
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


def _vae_level(inputs: int, outputs: int, blocks: int, *, attention: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for index in range(blocks):
        parts.append(VAEBlock(inputs if index == 0 else outputs, outputs))
        if attention:
            parts.append(SpatialAttention(outputs))
    return nn.Sequential(*parts)


def _vae_middle(width: int) -> nn.Sequential:
    return nn.Sequential(VAEBlock(width, width), SpatialAttention(width), VAEBlock(width, width))


class VAEEncoder(nn.Module):
    """Residual levels with strided convolutions in between."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        inputs = [config.channels, *widths[:-1]]
        self.stem = config.stem
        self.conv_in = nn.Conv2d(3 * config.stem**2, config.channels, 3, padding=1)
        self.levels = nn.ModuleList(
            _vae_level(a, b, config.blocks, attention=config.level_attention and index == len(widths) - 1)
            for index, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.downsamples = nn.ModuleList(Downsample(width) for width in widths[:-1])
        self.middle = _vae_middle(widths[-1])
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


class VAEDecoder(nn.Module):
    """The levels in reverse, each with one residual block more."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        inputs = [widths[0], *widths[:-1]]
        self.conv_in = nn.Conv2d(config.code_size, widths[0], 3, padding=1)
        self.middle = _vae_middle(widths[0])
        self.levels = nn.ModuleList(_vae_level(a, b, config.blocks + 1) for a, b in zip(inputs, widths, strict=True))
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
    """Convolutional encoder, diagonal Gaussian posterior and decoder of the LDM and MAR family.

    Image tokens are the latents times `latent_scale`. Two options: a posterior sample or its mode, and whether decoding
    undoes the scale; the published code does not, and lets stage 2 absorb it.
    """

    def __init__(self, config: BaseTokenizerConfig) -> None:
        super().__init__(config)
        self.encoder = VAEEncoder(config)
        self.moments = nn.Conv2d(2 * config.code_size, 2 * config.code_size, 1)
        self.latents_in = nn.Conv2d(config.code_size, config.code_size, 1)
        self.decoder = VAEDecoder(config)
        self.linear = _linear_path(config, self.moments, self.decoder.conv_out)
        if self.linear is not None:  # a posterior as wide as the prior would drown the projection in noise
            nn.init.constant_(self.moments.bias[config.code_size :], NARROW)  # type: ignore[index]

    def encode(self, images: Tensor) -> BaseTokens:
        """Tokenize images (b, 3, h, w) in [0, 1].

        With `sample_posterior` the tokens are drawn from torch's default generator, as published; otherwise they are
        the posterior's mode and encoding is deterministic.
        """
        mean, log_variance = self.moments(self.encoder(images)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-30, 20)
        if self.linear is not None:
            mean = mean + self.linear.encode(images)
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
        latents = rearrange(codes, "b (h w) z -> b z h w", h=math.isqrt(codes.shape[1]))
        images = self.decoder(self.latents_in(latents))
        return images if self.linear is None else images + self.linear.decode(latents)

    @property
    def codebook(self) -> None:
        """A VAE has no codebook."""
        return None

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight
