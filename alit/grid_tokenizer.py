"""The base tokenizer by itself: every image token, one length. What adaptive lengths are distilled from."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from alit.models.base import BaseTokenizer
from alit.protocol import Reconstruction


class GridTokenizer(nn.Module):
    """A base tokenizer as `alit.protocol.Tokenizer`: images of one size, n image tokens each."""

    def __init__(self, base: BaseTokenizer, image_size: int) -> None:
        super().__init__()
        self.base = base
        self.image_size = image_size

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.base.config.kind

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of image tokens, alone."""
        return ((self.image_size // self.base.config.patch) ** 2,)

    @property
    def base_tokens(self) -> int:
        """The number of image tokens."""
        return self.lengths[0]

    @property
    def bits_per_token(self) -> int:
        """Bits of one image token: an id's, or 32 a number when continuous."""
        size = self.base.config.codebook_size
        return 32 * self.base.config.code_size if size is None else math.ceil(math.log2(size))

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield the reconstruction of images (b, 3, h, w) in [0, 1] from all image tokens."""
        bits = torch.full((len(images),), float(self.lengths[0] * self.bits_per_token))
        rebuilt = self.base.decode(self.base.encode(images).codes)
        yield Reconstruction(self.lengths[0], bits, rebuilt.clamp(0, 1))
