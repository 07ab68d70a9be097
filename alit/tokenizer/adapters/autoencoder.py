"""Published autoencoders of diffusers by themselves: every image token, one length."""

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from einops import rearrange
from safetensors import SafetensorError
from torch import Tensor, nn

from alit.errors import CheckpointError, ConfigError, require
from alit.models.diffusers_base import CLASS_KEY
from alit.models.hub import first_line
from alit.models.loading import DIFFUSERS_FILES, find_published, quiet_diffusers
from alit.models.weights import CONFIG_FILE
from alit.tokenizer.protocol import FeatureStep, Reconstruction, bits_per_id, bits_per_image

CLASSES = ("AutoencoderKL", "VQModel", "AutoencoderTiny", "AutoencoderDC")
BYTE = 256


class AutoencoderTokenizer(nn.Module):
    """`AutoencoderKL`, `VQModel`, `AutoencoderTiny` or `AutoencoderDC` of diffusers, with published weights.

    Bits of a `VQModel` are those of its ids. The numbers of the others are rounded to `number_bits` before they are
    decoded, so that the bits are those that a file of the latents would have. 8 is for `AutoencoderTiny` alone, whose
    own `forward` stores latents as bytes in this way; those bytes are its ids.
    """

    value_range = (-1.0, 1.0)

    def __init__(self, pretrained: str, *, image_size: int, number_bits: Literal[8, 16, 32] = 16) -> None:
        """Load the autoencoder.

        Args:
            pretrained: a folder, or a hub id; see `alit.models.loading.find_published`.
            image_size: pixels per side; a multiple of the network's downsampling.
            number_bits: of each number of the latents; a VQModel's are ids and have their own.

        Raises:
            CheckpointError: nothing is found there, or it is none of `CLASSES`.
            ConfigError: the image size is no multiple, or the network's numbers have no such width.
        """
        super().__init__()
        self.network = _load(pretrained)
        self.kind, settings = type(self.network).__name__, self.network.config
        halvings = len(settings.get("encoder_block_out_channels") or settings["block_out_channels"]) - 1
        if image_size % 2**halvings:
            raise ConfigError(f"image_size: expected a multiple of {2**halvings} for {pretrained}, found {image_size}")
        if number_bits not in (16, 32) and not (number_bits == 8 and self.kind == "AutoencoderTiny"):
            raise ConfigError(f"number_bits: expected 16 or 32, or 8 of an AutoencoderTiny, found {number_bits}")
        self.name, self.image_size, self.number_bits = self.kind, image_size, number_bits
        self.lengths = ((image_size // 2**halvings) ** 2,)
        self.code_size = int(settings["latent_channels"])

    @property
    def base_tokens(self) -> int:
        """The number of image tokens."""
        return self.lengths[0]

    @property
    def codebook_size(self) -> int | None:
        """Number of codes that ids are among; None where latents are no ids."""
        if self.kind == "VQModel":
            return int(self.network.config["num_vq_embeddings"])
        return BYTE if self.number_bits == 8 else None

    @property
    def bits_per_token(self) -> int:
        """Bits of one image token."""
        if self.kind == "VQModel":
            return bits_per_id(int(self.network.config["num_vq_embeddings"]))
        return self.number_bits * self.code_size

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield the reconstruction of images (b, 3, h, w) in [-1, 1]."""
        code = self._encode(images)
        bits = bits_per_image(images, self.lengths[0] * self.bits_per_token)
        ids = None if self.codebook_size is None else code.flatten(1).long()
        yield Reconstruction(self.lengths[0], bits, self._decode(code).float().clamp(-1, 1), ids)

    @torch.no_grad()
    def features(self, images: Tensor) -> Iterator[FeatureStep]:
        """Yield what the decoder gets of images (b, 3, h, w) in [-1, 1], a vector for each place, row by row."""
        vectors = self._vectors(self._encode(images))
        yield FeatureStep(self.lengths[0], rearrange(vectors, "b z h w -> b (h w) z").float())

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        """Return what is stored of images: ids (b, h, w), bytes (b, z, h, w) or latents (b, z, h, w)."""
        encoded = self.network.encode(images)
        if self.kind == "VQModel":
            ids = self.network.quantize(encoded.latents)[2][2]
            return rearrange(ids, "(b h w) -> b h w", b=len(images), h=math.isqrt(self.lengths[0]))
        if self.kind == "AutoencoderKL":
            latents = encoded.latent_dist.mode()
        else:
            latents = encoded.latent if self.kind == "AutoencoderDC" else encoded.latents
        if self.number_bits == 8:
            return (self.network.scale_latents(latents) * (BYTE - 1)).round().to(torch.uint8)
        return latents.half() if self.number_bits == 16 else latents

    def _vectors(self, code: Tensor) -> Tensor:
        """Return what the decoder gets (b, z, h, w) of what `_encode` returns."""
        if self.kind == "VQModel":
            return rearrange(self.network.quantize.embedding(code), "b h w z -> b z h w")
        if self.number_bits == 8:
            return self.network.unscale_latents(code / (BYTE - 1))
        return code.to(next(self.network.parameters()).dtype)

    def _decode(self, code: Tensor) -> Tensor:
        """Return images (b, 3, h, w), not clipped, of what `_encode` returns."""
        options = {"force_not_quantize": True} if self.kind == "VQModel" else {}
        return self.network.decode(self._vectors(code), **options).sample


def _load(pretrained: str) -> Any:
    """Return a network of diffusers in float32 and eval mode, none of its weights random."""
    require("diffusers")
    import diffusers

    folder = find_published(pretrained, DIFFUSERS_FILES)
    try:
        name = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get(CLASS_KEY)
        if name not in CLASSES:
            raise CheckpointError(f"expected an autoencoder of class {', '.join(CLASSES)} in {folder}, found {name}")
        options: dict[str, Any] = {"local_files_only": True, "low_cpu_mem_usage": False, "output_loading_info": True}
        with quiet_diffusers():  # older config.json files name settings that the class has no longer
            network, report = getattr(diffusers, name).from_pretrained(folder, torch_dtype=torch.float32, **options)
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"expected an autoencoder of diffusers in {folder}: {first_line(error)}") from error
    if absent := report["missing_keys"]:
        raise CheckpointError(f"{folder}: missing tensor for {sorted(map(str, absent))[0]}")
    return network.eval()
