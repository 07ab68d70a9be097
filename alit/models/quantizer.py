"""Vector quantization with a straight-through gradient, for base codes and latent codes alike."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Quantized(NamedTuple):
    """The nearest codes of some vectors."""

    codes: Tensor  # (..., z), values of the codebook, gradient of the input
    ids: Tensor  # (...), int64
    loss: Tensor  # scalar, codebook and commitment terms


class VectorQuantizer(nn.Module):
    """Nearest-neighbor codebook (m, z), trained by its codebook loss, as published.

    With `unit`, vectors and codes are l2-normalized, so the nearest code is that of the largest cosine.
    """

    def __init__(self, size: int, code_size: int, *, unit: bool, commitment: float = 0.25) -> None:
        super().__init__()
        self.size = size
        self.unit = unit
        self.commitment = commitment
        self.embedding = nn.Parameter(torch.empty(size, code_size).uniform_(-1 / size, 1 / size))

    @property
    def codebook(self) -> Tensor:
        """Codes (m, z) as they leave the quantizer."""
        return F.normalize(self.embedding, dim=-1) if self.unit else self.embedding

    def forward(self, vectors: Tensor) -> Quantized:
        """Quantize vectors (..., z), in float32 whatever the surrounding precision."""
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = vectors.float()
            if self.unit:
                vectors = F.normalize(vectors, dim=-1)
            codebook = self.codebook
            ids = nearest(vectors.detach(), codebook.detach())
            codes = F.embedding(ids, codebook)
            codebook_loss = F.mse_loss(codes, vectors.detach())
            commitment_loss = F.mse_loss(vectors, codes.detach())
            straight_through = vectors + (codes - vectors).detach()
        return Quantized(straight_through, ids, codebook_loss + self.commitment * commitment_loss)

    def lookup(self, ids: Tensor) -> Tensor:
        """Return the codes (..., z) of ids (...)."""
        return F.embedding(ids, self.codebook)


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return, for vectors (..., z), the index of the closest row of a codebook (m, z) in squared distance."""
    distances = codebook.square().sum(dim=-1) - 2 * vectors @ codebook.T
    return distances.argmin(dim=-1)
