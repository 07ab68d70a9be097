"""Bootstrap over images: seeded, vectorized, and paired whenever two statistics share the images and the seed.

Every result has the point estimate first and the resamples after it, so that a statistic of means is computed once
for the whole array: `samples[0]` is the value, `samples[1:]` give its interval.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

KEPT_NUMBERS = 60_000_000  # counts that are kept of a set of resamples: 60 MB
CHUNK_NUMBERS = 4_000_000  # numbers drawn at a time: 32 MB of indices, whatever the number of images


class Estimate(NamedTuple):
    """A value with its interval."""

    value: float
    low: float
    high: float


class Influence(NamedTuple):
    """A statistic that is no mean over images, and how much each of n images moves it, mean 0.

    A resample of such a statistic lies beside the statistic itself, because it holds fewer different images. It is
    therefore moved by the mean influence of the drawn images, its first-order change (Efron and Tibshirani 1993, 22).
    """

    value: float
    effects: np.ndarray  # (n,)


def resampled_influences(parts: Sequence[Influence], resamples: int, seed: int) -> np.ndarray:
    """Return (1 + r, k) values of k statistics of the same n images and of resamples, paired as `resampled_means`."""
    moves = resampled_means(np.stack([part.effects for part in parts], axis=1), resamples, seed)
    return np.array([part.value for part in parts]) + moves - moves[0]


def resampled_indices(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield chunks (r, n) of image indices drawn with replacement; the stream depends on the arguments only."""
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK_NUMBERS // images)
    for start in range(0, resamples, step):
        yield generator.integers(images, size=(min(step, resamples - start), images))


def resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return (1 + r, k) means of `values` (n, k) over all images and over each resample.

    Two calls with the same number of images and the same seed draw the same resamples: differences are paired.
    """
    images = len(values)
    # A mean over drawn images is a product with how often each was drawn, which costs one matrix product.
    drawn = (counts @ values / images for counts in resampled_counts(images, resamples, seed))
    return np.concatenate([values.mean(axis=0, keepdims=True), *drawn])


def resampled_counts(images: int, resamples: int, seed: int) -> Iterable[np.ndarray]:
    """Return chunks (r, n) of how often each image was drawn, in the resamples of `resampled_means`."""
    kept = images * resamples <= KEPT_NUMBERS
    return _kept_counts(images, resamples, seed) if kept else _counts(images, resamples, seed)


@lru_cache(maxsize=4)
def _kept_counts(images: int, resamples: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return what `_counts` yields: drawing takes longer than the products, and most calls draw the same."""
    return tuple(_counts(images, resamples, seed))


def _counts(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield chunks (r, n) of how often each image was drawn; a byte holds it, as nothing is drawn 256 times."""
    for indices in resampled_indices(images, resamples, seed):
        yield draw_counts(indices).astype(np.uint8)


def draw_counts(indices: np.ndarray) -> np.ndarray:
    """Return (r, n) how often each of n images is among the n drawn `indices` (r, n), as integers."""
    offsets = indices.shape[1] * np.arange(len(indices))[:, None]
    return np.bincount((indices + offsets).ravel(), minlength=indices.size).reshape(indices.shape)


def resampled(statistic: Callable[[np.ndarray], np.ndarray], images: int, resamples: int, seed: int) -> np.ndarray:
    """Return (1 + r, ...) values of a statistic of image indices (r, n) -> (r, ...), the point estimate first."""
    chunks = [statistic(np.arange(images)[None])]
    chunks += [statistic(indices) for indices in resampled_indices(images, resamples, seed)]
    return np.concatenate(chunks)


def interval(samples: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval (low, high) of resamples along the first axis of `samples` (1 + r, ...)."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(samples[1:], [tail, 100 - tail], axis=0)
    return low, high


def estimate(samples: np.ndarray, confidence: float) -> Estimate:
    """Return value and percentile interval of a scalar statistic, `samples` (1 + r,)."""
    low, high = interval(samples, confidence)
    return Estimate(float(samples[0]), float(low), float(high))


def interval_table(samples: np.ndarray, confidence: float, **labels: object) -> pd.DataFrame:
    """Return bootstrap samples (1 + r, k) as k tidy rows: labels, value, low, high.

    Args:
        samples: the statistic on the images themselves, then on each resample.
        confidence: of the percentile interval.
        labels: columns before the values, in this order; each one value for all rows, or k of them.
    """
    low, high = interval(samples, confidence)
    return pd.DataFrame({**labels, "value": samples[0], "low": low, "high": high})
