"""JPEG, WebP and AVIF as tokenizers: the classical anchor of rate plots, and the shortest example of the protocol.

A codec has no tokens: its "lengths" are quality settings, ordered from the cheapest, and plots put bits on the x axis.
"""

import io
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from PIL import Image, features
from torch import Tensor

from alit.errors import ConfigError
from alit.protocol import Reconstruction

Format = Literal["jpeg", "webp", "avif"]
QUALITIES = (1, 5, 10, 20, 40, 60, 80, 95)


class CodecTokenizer:
    """Encodes each image with Pillow at several qualities; bits are those of the whole file, header included."""

    def __init__(self, image_format: Format, *, image_size: int, qualities: tuple[int, ...] = QUALITIES) -> None:
        """Choose the codec.

        Args:
            image_format: what Pillow writes; AVIF needs a Pillow built with it.
            image_size: pixels per side of the images.
            qualities: ascending settings between 0 and 100; each counts as one "length".

        Raises:
            ConfigError: Pillow cannot write the format, or the qualities do not ascend within [0, 100].
        """
        if image_format in ("webp", "avif") and not features.check(image_format):
            raise ConfigError(
                f"this Pillow cannot write {image_format}; install a Pillow wheel of version 11.3 or newer"
            )
        if list(qualities) != sorted(set(qualities)) or not all(0 <= quality <= 100 for quality in qualities):
            raise ConfigError(f"expected ascending qualities between 0 and 100, found {qualities}")
        self.name: str = image_format
        self.image_size = image_size
        self.lengths = qualities

    @property
    def base_tokens(self) -> int:
        """The highest quality setting."""
        return self.lengths[-1]

    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield images (b, 3, h, w) in [0, 1], rounded to 8 bits, compressed and decompressed at each quality."""
        pixels = rearrange((images * 255).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()
        for quality in self.lengths:
            files = [compress(image, self.name, quality) for image in pixels]
            decoded = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
            bits = torch.tensor([8.0 * len(file) for file in files])
            rebuilt = rearrange(torch.from_numpy(decoded), "b h w c -> b c h w").float() / 255
            yield Reconstruction(quality, bits, rebuilt.to(images.device))


def compress(image: np.ndarray, image_format: str, quality: int) -> bytes:
    """Return the file of one 8-bit RGB image (h, w, 3)."""
    target = io.BytesIO()
    Image.fromarray(image).save(target, image_format, quality=quality)
    return target.getvalue()
