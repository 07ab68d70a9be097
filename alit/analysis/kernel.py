"""The kernel distance between sets of features: an unbiased squared maximum mean discrepancy (Bińkowski et al. 2018).

Its kernel is the cubic polynomial of the libraries, (x . y / f + 1)^3. On the reference Inception network it is KID.
"""

from collections.abc import Iterator

import numpy as np

from alit.analysis.bootstrap import Influence
from alit.errors import DataError

KERNEL_BLOCK = 1024  # images whose kernels with all others are in memory at a time


def kernel_influence(originals: np.ndarray, others: np.ndarray, own: np.ndarray) -> Influence:
    """Return the distance of features `others` (n, f) from `originals` (n, f), pair by pair, and each pair's influence.

    Args:
        originals, others: row i of both is the same image.
        own: `kernel_sums(originals, originals)`, the same for all that these originals are compared with.

    Raises:
        DataError: fewer than two images.
    """
    images = len(originals)
    _check_count(images)
    rows, columns, itself = np.empty(images), np.zeros(images), np.empty(images)
    for start, kernels in _kernel_blocks(originals, others):
        block = slice(start, start + len(kernels))
        rows[block], itself[block] = kernels.sum(axis=1), kernels[np.arange(len(kernels)), np.arange(images)[block]]
        columns += kernels.sum(axis=0)
    across = rows + columns - 2 * itself
    pairs = (own + kernel_sums(others, others) - across) / (images - 1)
    value = float(pairs.mean())
    return Influence(value, 2 * (pairs - value))


def kernel_between(first: np.ndarray, second: np.ndarray) -> Influence:
    """Return the distance of two sets of different images, features (n, f) and (m, f), and the influences of all n + m.

    The influences of the first set come first; each set's have mean 0, since each is resampled on its own.

    Raises:
        DataError: fewer than two images in a set.
    """
    for features in (first, second):
        _check_count(len(features))
    across = [kernel_means(first, second), kernel_means(second, first)]
    own = [kernel_sums(features, features) / (len(features) - 1) for features in (first, second)]
    value = own[0].mean() + own[1].mean() - 2 * across[0].mean()
    moves = [2 * (inside - outside) for inside, outside in zip(own, across, strict=True)]
    return Influence(float(value), np.concatenate([effects - effects.mean() for effects in moves]))


def kernel_sums(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (n,) sums over j other than i of k(first i, second j), features (n, f) both; sums are in float64."""
    sums = np.empty(len(first))
    for start, kernels in _kernel_blocks(first, second):
        itself = kernels[np.arange(len(kernels)), start + np.arange(len(kernels))]
        sums[start : start + len(kernels)] = kernels.sum(axis=1) - itself
    return sums


def kernel_means(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (n,) means over all m of k(first i, second j), features (n, f) and (m, f)."""
    return np.concatenate([kernels.mean(axis=1) for _, kernels in _kernel_blocks(first, second)])


def _kernel_blocks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of a block's first row and its kernels (rows, m) with all of `second`."""
    second = np.asarray(second, dtype=np.float64)
    for start in range(0, len(first), KERNEL_BLOCK):
        block = np.asarray(first[start : start + KERNEL_BLOCK], dtype=np.float64)
        kernels = block @ second.T / second.shape[1] + 1
        yield start, kernels * kernels * kernels  # a power of 3 takes several times as long


def _check_count(images: int) -> None:
    if images < 2:
        raise DataError(f"expected at least 2 images for a kernel distance, found {images}; use more images")
