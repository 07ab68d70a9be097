"""Which images a training step sees: a pure function of the step, so that resuming needs no state."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def batch_indices(step: int, batch_size: int, length: int, seed: int) -> Tensor:
    """Return the int64 indices (batch_size,) of the images of one step.

    Each epoch is a fresh permutation that visits an image at most once: every image when `batch_size` divides
    `length`, else all but the remainder, which differs by epoch. A batch larger than the set takes whole
    permutations one after another. Every process computes the same global batch and takes its share of it.
    """
    if length < 1 or batch_size < 1:
        raise ValueError(f"expected at least one image and a positive batch size, got {length} and {batch_size}")
    batches = length // batch_size
    if batches:
        epoch, batch = divmod(step, batches)
        return _permutation(seed, epoch, length)[batch * batch_size : (batch + 1) * batch_size].clone()
    first, start = divmod(step * batch_size, length)
    epochs = range(first, first + (start + batch_size - 1) // length + 1)
    stream = torch.cat([_permutation(seed, epoch, length) for epoch in epochs])
    return stream[start : start + batch_size].clone()


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, length: int) -> Tensor:
    """Return the order of one epoch; kept, since successive steps slice the same one."""
    mixed = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(mixed) % 2**63)
    return torch.randperm(length, generator=generator)
