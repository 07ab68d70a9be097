"""Kernel distance between two sets of features: the squared mean discrepancy under a cubic kernel, with its bootstrap.

The kernel is that of Bińkowski et al. 2018, k(x, y) = (x . y / f + 1)^3 for features of f numbers, as torch-fidelity
and torchmetrics have it. Called by the extractor's name everywhere: it is KID only on the reference Inception network.
Its estimate is unbiased, so that distances of sets of different sizes compare, which those of Fréchet do not; near 0
it may come out negative.

All images take part, in no subsets. Deviation: originals and reconstructions are pairs, and the kernel of an image with
its own reconstruction is no sample of the kernel between two independent images. The libraries' estimate, made for two
independent sets, keeps these terms and so lies too low, below 0 for perfect reconstructions; here they are left out,
as in the paired form of Gretton et al. 2012 (lemma 6). A resample moves the distance by the mean influence of its
images, as in `frechet_samples`.
"""

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.curves import Resampling
from alit.analysis.frechet_samples import Influence
from alit.analysis.grid import ScoreGrid
from alit.errors import DataError

BLOCK = 1024  # images whose kernels with all others are in memory at a time


def sample_kernel(features: np.ndarray, grid: ScoreGrid, positions: np.ndarray, how: Resampling) -> np.ndarray:
    """Return (1 + r, t) distances of t selections, positions (n, t), from the untouched images, value first.

    Images are drawn with replacement as everywhere, original and reconstruction together.

    Raises:
        DataError: the table has no rows of length 0 to compare with, or fewer than two images.
    """
    if grid.clean_rows is None:
        raise DataError("expected rows of length 0 in the sweep table, the reference of kernel distances, found none")
    originals = features[grid.clean_rows]
    own = kernel_sums(originals, originals)
    every = np.arange(len(grid))
    parts = [kernel_influence(originals, features[grid.rows[every, column]], own) for column in positions.T]
    moves = resampled_means(np.stack([part.effects for part in parts], axis=1), how.resamples, how.seed)
    return np.array([part.value for part in parts]) + moves


def kernel_influence(originals: np.ndarray, others: np.ndarray, own: np.ndarray) -> Influence:
    """Return the distance of features `others` (n, f) from `originals` (n, f), pair by pair, and each pair's influence.

    Args:
        originals, others: row i of both is the same image.
        own: `kernel_sums(originals, originals)`, the same for all that these originals are compared with.

    Raises:
        DataError: fewer than two images.
    """
    images = len(originals)
    if images < 2:
        raise DataError(f"expected at least 2 images for a kernel distance, found {images}; use more images")
    across = kernel_sums(originals, others) + kernel_sums(others, originals)
    pairs = (own + kernel_sums(others, others) - across) / (images - 1)
    value = float(pairs.mean())
    return Influence(value, 2 * (pairs - value))


def kernel_sums(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (n,) sums over j other than i of k(first i, second j), block by block; sums are in float64.

    Args:
        first, second: features (n, f).
    """
    second = np.asarray(second, dtype=np.float64)
    size = second.shape[1]
    sums = np.empty(len(first))
    for start in range(0, len(first), BLOCK):
        block = np.asarray(first[start : start + BLOCK], dtype=np.float64)
        kernels = (block @ second.T / size + 1) ** 3
        itself = kernels[np.arange(len(block)), start + np.arange(len(block))]
        sums[start : start + BLOCK] = kernels.sum(axis=1) - itself
    return sums
