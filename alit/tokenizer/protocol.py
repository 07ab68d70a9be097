"""What a tokenizer must offer to be measured: reconstructions at its lengths, cheapest first."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Reconstruction(NamedTuple):
    """A batch of images rebuilt from `length` tokens each."""

    length: int
    bits: Tensor  # (b,) float32, size of each image's code
    images: Tensor  # (b, 3, h, w) float32 in [0, 1]


@runtime_checkable
class Tokenizer(Protocol):
    """A variable-length image tokenizer, as the sweep sees it; one file is enough to implement it."""

    @property
    def name(self) -> str:
        """Short name used in tables and figures."""
        ...

    @property
    def image_size(self) -> int:
        """Pixels per side of the square images it takes."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """Token counts it can produce for one image, shortest first."""
        ...

    @property
    def base_tokens(self) -> int:
        """Tokens of one image that capacities are given as a share of (paper, section 4)."""
        ...

    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield one `Reconstruction` per length for images (b, 3, h, w) in [0, 1]; no gradients."""
        ...
