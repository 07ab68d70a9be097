"""Published autoencoders of diffusers as base tokenizers: `AutoencoderKL`, `AutoencoderTiny`, `VQModel`."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from alit.errors import CheckpointError, ConfigError, require
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.quantizer import nearest
from alit.settings import Settings

CLASSES = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
CLASS_KEY = "_class_name"
FILLED_IN = ("latent_scale", "latent_shift", "sha256", "dtype", "architecture")  # what a profile may leave null


class DiffusersBaseConfig(Settings):
    """An autoencoder in the layout of diffusers.

    A profile states what other settings depend on; loading checks it against the published file, and fills in the
    rest, so that a checkpoint's own settings are complete.
    """

    kind: Literal["diffusers"]
    pretrained: str  # a folder, or a hub id; see `alit.models.loading.find_published`
    patch: PositiveInt  # pixels per side that one image token stands for
    code_size: PositiveInt  # z, numbers per image token: the latent channels, or the size of a code vector
    codebook_size: PositiveInt | None  # v, VQModel only
    # Image tokens are (latents - shift) * scale. Null takes both from the published settings, or else measures them on
    # training images, so that image tokens have mean 0 and variance 1. The codes of a VQModel stay as they are.
    latent_scale: PositiveFloat | None = None
    latent_shift: float | None = None
    sample_posterior: bool = False  # AutoencoderKL only: tokens are a posterior sample instead of its mode
    sha256: str | None = None  # of the weights; see `alit.models.weights.weights_sha256`
    dtype: Literal["float16", "float32"] | None = None  # that the weights were published in, and are hashed in
    architecture: dict[str, Any] | None = None  # the settings that diffusers builds the network from

    def filled_in(self, published: Mapping[str, Any]) -> "DiffusersBaseConfig":
        """Return these settings with what the published settings say.

        Args:
            published: content of the autoencoder's config.json.

        Raises:
            CheckpointError: it is none of the three classes.
            ConfigError: a stated key differs from what was published.
        """
        architecture = _architecture(published, self.pretrained)
        changes: dict[str, Any] = {"architecture": architecture}
        if self.latent_scale is None and architecture[CLASS_KEY] == "VQModel":
            changes |= {"latent_scale": 1.0, "latent_shift": 0.0}
        elif self.latent_scale is None and published.get("scaling_factor"):
            changes |= {
                "latent_scale": float(published["scaling_factor"]),
                "latent_shift": float(published.get("shift_factor") or 0.0),
            }
        elif self.latent_scale is not None and self.latent_shift is None:
            changes["latent_shift"] = 0.0
        filled = self.model_copy(update=changes)
        _check_stated(filled, DiffusersBase(filled))
        return filled


def _architecture(published: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the class and the arguments of its constructor out of a config.json, without what it ignores."""
    name = _class_name(published, source)
    arguments = set(inspect.signature(network_class(name).__init__).parameters)
    return {CLASS_KEY: name} | {key: value for key, value in published.items() if key in arguments}


def _class_name(settings: Mapping[str, Any], source: str) -> str:
    """Return the class that settings of diffusers name: one of three, since a file may name any."""
    if (name := settings.get(CLASS_KEY)) not in CLASSES:
        raise CheckpointError(f"expected an autoencoder of class {', '.join(CLASSES)} in {source}, found {name}")
    return name


def network_class(name: str) -> Any:
    """Return a class of diffusers, one of `CLASSES`."""
    require("diffusers")
    import diffusers

    return getattr(diffusers, name)


def _check_stated(config: DiffusersBaseConfig, base: "DiffusersBase") -> None:
    """Refuse a patch, code size or codebook size that the network does not have."""
    for key, found in base.sizes().items():
        if (stated := getattr(config, key)) != found:
            raise ConfigError(
                f"tokenizer.base.{key}: expected {'null' if found is None else found} for {config.pretrained}, "
                f"found {'null' if stated is None else stated}; state what was published"
            )


class DiffusersBase(BaseTokenizer):
    """An autoencoder of diffusers: images in [0, 1] outside, in [-1, 1] inside, and latents scaled to image tokens.

    Raises:
        ConfigError: the settings lack an architecture: they are a profile's, and nothing was loaded for them.
        CheckpointError: the architecture is none of `CLASSES`.
    """

    config: DiffusersBaseConfig

    def __init__(self, config: DiffusersBaseConfig) -> None:
        super().__init__(config)
        if config.architecture is None:
            raise ConfigError(f"expected the architecture of {config.pretrained}, found none; run stage base first")
        self.kind = _class_name(config.architecture, config.pretrained)
        self.network: Any = network_class(self.kind).from_config(config.architecture)

    @property
    def encoder(self) -> Any:
        """The network's encoder."""
        return self.network.encoder

    @property
    def decoder(self) -> Any:
        """The network's decoder."""
        return self.network.decoder

    @property
    def quantizer(self) -> Any:
        """The network's quantizer, or None."""
        return getattr(self.network, "quantize", None)

    def sizes(self) -> dict[str, int | None]:
        """Return patch, code size and codebook size of the network, by their keys in the settings."""
        published = self.network.config
        if self.kind == "AutoencoderTiny":
            halvings = len(published.encoder_block_out_channels) - 1
        else:
            halvings = len(published.block_out_channels) - 1
        codebook = self.codebook
        code_size = published.latent_channels if codebook is None else codebook.shape[1]
        size = None if codebook is None else len(codebook)
        return {"patch": 2**halvings, "code_size": code_size, "codebook_size": size}

    def latents(self, images: Tensor) -> Tensor:
        """Return latents (b, z, h / patch, w / patch) as published, unscaled, of images (b, 3, h, w) in [0, 1]."""
        encoded = self.network.encode(2 * images - 1)
        if self.kind != "AutoencoderKL":
            return encoded.latents
        posterior = encoded.latent_dist
        return posterior.sample() if self.config.sample_posterior else posterior.mode()

    def encode(self, images: Tensor) -> BaseTokens:
        """Tokenize images (b, 3, h, w) in [0, 1]; the loss is zero, since no stage trains these networks on it.

        With `sample_posterior` the tokens are drawn from torch's default generator.
        """
        scale, shift = self._scaling()
        features = (rearrange(self.latents(images), "b z h w -> b (h w) z") - shift) * scale
        loss = features.new_zeros(())
        if self.codebook is None:
            return BaseTokens(features, features, None, loss)
        with torch.autocast(features.device.type, enabled=False):
            ids = nearest(features.detach().float(), self.codebook.detach().float())
        codes = F.embedding(ids, self.codebook)
        return BaseTokens(features, features + (codes - features).detach(), ids, loss)

    def decode(self, codes: Tensor) -> Tensor:
        """Rebuild images (b, 3, h, w), not clipped, from image tokens (b, n, z) of a square grid."""
        scale, shift = self._scaling()
        latents = rearrange(codes / scale + shift, "b (h w) z -> b z h w", h=math.isqrt(codes.shape[1]))
        options = {"force_not_quantize": True} if self.kind == "VQModel" else {}
        return (self.network.decode(latents, **options).sample + 1) / 2

    def _scaling(self) -> tuple[float, float]:
        """Return scale and shift; the codes of a codebook stay as they are."""
        if self.kind == "VQModel":
            return 1.0, 0.0
        return self.config.latent_scale or 1.0, self.config.latent_shift or 0.0

    @property
    def codebook(self) -> Tensor | None:
        """Code vectors (v, z) of a VQModel; the other classes have none."""
        return self.network.quantize.embedding.weight if self.kind == "VQModel" else None

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        last = self.decoder.layers[-1] if self.kind == "AutoencoderTiny" else self.decoder.conv_out
        return last.weight
