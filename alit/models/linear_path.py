"""Linear paths around networks: a projection to principal components, and back by its transpose.

Neither is in the paper, and both are off in every published layout. Around a base tokenizer: a small network that has
to draw every pixel by itself blurs what it cannot draw, and with the path it adds what a linear transform of patches
lacks. Around the distillation: see `LatentLinearPath`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class LinearPath(nn.Module):
    """Patches to codes by an orthonormal projection, and back by its transpose.

    While the rows of `projection` are orthonormal, the squared error of a code is that part of the squared error of its
    patch that the codes can express: a regression on codes is a loss on pixels.
    """

    def __init__(self, patch: int, code_size: int) -> None:
        super().__init__()
        self.patch = patch
        numbers = 3 * patch**2
        self.mean = nn.Parameter(torch.zeros(numbers))
        self.projection = nn.Parameter(nn.init.orthogonal_(torch.empty(code_size, numbers)))

    def encode(self, images: Tensor) -> Tensor:
        """Map images (b, 3, h, w) to codes (b, z, h / patch, w / patch)."""
        patches = F.pixel_unshuffle(images, self.patch) - rearrange(self.mean, "p -> p 1 1")
        return torch.einsum("zp,bphw->bzhw", self.projection, patches)

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes (b, z, h, w) to images (b, 3, h * patch, w * patch), not clipped."""
        patches = torch.einsum("zp,bzhw->bphw", self.projection, codes) + rearrange(self.mean, "p -> p 1 1")
        return F.pixel_shuffle(patches, self.patch)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Take mean and principal components of the patches of images, batches of (b, 3, h, w), the largest first."""
        patches = (rearrange(F.pixel_unshuffle(images, self.patch), "b p h w -> (b h w) p") for images in batches)
        found = principal_components(patches, *self.projection.shape)
        self.mean.copy_(found.mean)
        self.projection.copy_(found.components)


class LatentLinearPath(nn.Module):
    """All image tokens of an image to the numbers of its latents by principal components, and back by the transpose.

    A deviation from the paper, for continuous latents: the encoder adds to these numbers, and the latent decoder to
    what they rebuild. Without the path a small distillation hardly uses the last of its latents (docs/lab-log.md). The
    first latent has the largest components, so that each length adds the largest that are left. Every number is divided
    by its standard deviation, as networks expect it. `fit` sets the path; training leaves it as it is.
    """

    def __init__(self, image_tokens: int, code_size: int, latents: int, latent_code_size: int) -> None:
        super().__init__()
        self.image_tokens, self.latent_code_size = image_tokens, latent_code_size
        numbers, kept = image_tokens * code_size, latents * latent_code_size
        self.mean = nn.Parameter(torch.zeros(numbers), requires_grad=False)
        self.components = nn.Parameter(torch.zeros(kept, numbers), requires_grad=False)
        self.deviations = nn.Parameter(torch.ones(kept), requires_grad=False)

    def encode(self, features: Tensor, length: int) -> Tensor:
        """Map image tokens (b, n, c) to the numbers (b, k, z) of the first `length` latents, k."""
        wanted = length * self.latent_code_size
        centered = rearrange(features, "b n c -> b (n c)") - self.mean
        numbers = centered @ self.components[:wanted].T / self.deviations[:wanted]
        return rearrange(numbers, "b (k z) -> b k z", z=self.latent_code_size)

    def decode(self, numbers: Tensor) -> Tensor:
        """Map the numbers (b, k, z) of any length to image tokens (b, n, c)."""
        flat = rearrange(numbers, "b k z -> b (k z)")
        known = flat.shape[1]
        codes = (flat * self.deviations[:known]) @ self.components[:known] + self.mean
        return rearrange(codes, "b (n c) -> b n c", n=self.image_tokens)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Take mean, principal components and their deviations from image tokens, batches of (b, n, c)."""
        rows = (rearrange(features, "b n c -> b (n c)") for features in batches)
        found = principal_components(rows, *self.components.shape)
        self.mean.copy_(found.mean)
        self.components.copy_(found.components)
        # Of few images there are no more components than images: the others stay zero, and are divided by one.
        there = found.variances > found.variances[0] * SMALLEST_VARIANCE
        self.components.mul_(rearrange(there, "k -> k 1").to(self.components))
        self.deviations.copy_(torch.where(there, found.variances.sqrt(), 1.0))


SMALLEST_VARIANCE = 1e-9  # of the largest component's; less is what rounding leaves


class PrincipalComponents(NamedTuple):
    """Directions of the largest variance among vectors of p numbers, in float64."""

    mean: Tensor  # (p,)
    components: Tensor  # (k, p), orthonormal rows, the largest first
    variances: Tensor  # (k,)


def principal_components(batches: Iterable[Tensor], count: int, numbers: int) -> PrincipalComponents:
    """Return the `count` largest principal components of vectors, batches of (b, numbers); each sign is by rule."""
    rows, total, products = 0, torch.zeros(numbers).double(), torch.zeros(numbers, numbers).double()
    for batch in batches:
        vectors = batch.cpu().double()
        rows += len(vectors)
        total += vectors.sum(dim=0)
        products += vectors.T @ vectors
    mean = total / rows
    variances, vectors = torch.linalg.eigh(products / rows - torch.outer(mean, mean))  # the largest last
    largest = vectors.flip(1)[:, :count].T
    signs = largest.gather(1, largest.abs().argmax(dim=1, keepdim=True)).sign()  # a component's sign is arbitrary
    return PrincipalComponents(mean, largest * signs, variances.flip(0)[:count])


@torch.no_grad()
def start_near_zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Shrink a network's last layer: at first the linear path acts nearly alone, and gradients reach all weights."""
    layer.weight.mul_(0.01)
    if layer.bias is not None:
        layer.bias.zero_()
