"""What a base tokenizer is: the frozen 2D tokenizer that turns an image into a grid of image tokens."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from alit.config.s_base import BaseTokenizerConfig


class BaseTokens(NamedTuple):
    """The image tokens of a batch, in raster order."""

    features: Tensor  # (b, n, z), what the distillation encoder sees: before quantisation, or scaled latents
    codes: Tensor  # (b, n, z), what the latent decoder has to rebuild: code vectors, or scaled latents
    ids: Tensor | None  # (b, n) int64, indices into the codebook; None for a VAE
    loss: Tensor  # scalar: quantiser loss, or KL divergence per image in nats


class BaseTokenizer(nn.Module, ABC):
    """Images (b, 3, h, w) in [0, 1] to image tokens and back; h and w are multiples of the patch."""

    def __init__(self, config: BaseTokenizerConfig) -> None:
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
