"""A linear path around the base tokenizer's networks: a patch projection and its transpose.

Not in the paper, whose base tokenizers are published ones; off in every published layout. A small network that has to
draw every pixel by itself blurs what it cannot draw. With this path it adds what a linear transform of patches lacks.
"""

from collections.abc import Iterable

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
        numbers = len(self.mean)
        count, total, products = 0, torch.zeros(numbers).double(), torch.zeros(numbers, numbers).double()
        for images in batches:
            patches = rearrange(F.pixel_unshuffle(images, self.patch), "b p h w -> (b h w) p").double()
            count += len(patches)
            total += patches.sum(dim=0)
            products += patches.T @ patches
        mean = total / count
        _, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))  # the largest last
        largest = vectors.flip(1)[:, : len(self.projection)].T
        signs = largest.gather(1, largest.abs().argmax(dim=1, keepdim=True)).sign()  # a component's sign is arbitrary
        self.mean.copy_(mean)
        self.projection.copy_(largest * signs)


@torch.no_grad()
def start_near_zero(layer: nn.Conv2d) -> None:
    """Shrink a network's last layer: at first the linear path acts nearly alone, and gradients reach all weights."""
    layer.weight.mul_(0.01)
    if layer.bias is not None:
        layer.bias.zero_()
