"""Keeping a codebook in use: counting, re-seeding dead codes, and starting from data.

Deviations from the published code, which does neither: codebooks that are trained from scratch on few images lose
most of their codes otherwise.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from lightning_fabric import Fabric
from torch import Tensor

from alit.models.quantizer import VectorQuantizer
from alit.training.fabric import gather_batch
from alit.training.optimiser import Learner


def perplexity(ids: Tensor, size: int) -> Tensor:
    """Return the exponential of the entropy of code use: as many equally used codes would be as surprising."""
    share = torch.bincount(ids.flatten(), minlength=size) / ids.numel()
    return torch.special.entr(share).sum().exp()


class CodebookCare:
    """Counts the uses of each code since the last revival, and re-seeds the unused ones from data."""

    def __init__(self, quantizer: VectorQuantizer, learner: Learner, fabric: Fabric) -> None:
        self.quantizer = quantizer
        self.learner = learner
        self.fabric = fabric
        self.uses = torch.zeros(quantizer.size, dtype=torch.int64, device=fabric.device)

    def count(self, ids: Tensor) -> None:
        """Count ids (...) of one step of this process."""
        self.uses += torch.bincount(ids.flatten(), minlength=self.quantizer.size)

    def revive(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Replace codes that no process has used since the last call by random ones of vectors (b, n, z).

        Every process sees the vectors of all and draws the same of them from a `generator` in the same state.
        """
        uses = self.fabric.all_reduce(self.uses.clone(), reduce_op="sum")
        assert isinstance(uses, Tensor)
        dead = (uses == 0).nonzero()[:, 0]
        vectors = gather_batch(self.fabric, vectors.detach())
        if len(dead):
            self._replace(dead, rearrange(vectors, "b n z -> (b n) z"), generator)
        self.uses.zero_()

    def start_from(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Replace the whole codebook by random ones of vectors (n, z), the same on every process."""
        self._replace(torch.arange(self.quantizer.size, device=vectors.device), vectors, generator)
        self.uses.zero_()

    def _replace(self, rows: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
        chosen = vectors[_choose(len(vectors), len(rows), generator).to(vectors.device)]
        if self.quantizer.unit:
            chosen = F.normalize(chosen, dim=-1)
        self.learner.replace_rows(self.quantizer.embedding, rows, chosen)

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"uses": self.uses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.uses.copy_(state["uses"])


def _choose(available: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Return `wanted` of `available` rows, without repetition where there are enough."""
    if wanted <= available:
        return torch.randperm(available, generator=generator)[:wanted]
    return torch.randint(available, (wanted,), generator=generator)
