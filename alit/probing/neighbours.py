"""Which images have the most token ids in common."""

from typing import NamedTuple

import numpy as np

from alit.errors import DataError


class Nearest(NamedTuple):
    """For each of n images the other image that shares the most ids with it."""

    rows: np.ndarray  # (n,) its number
    shared: np.ndarray  # (n,) share of the positions at which both have the same id, 0 to 1


def nearest_images(ids: np.ndarray) -> Nearest:
    """Find each image's nearest by the ids (n, k) that stand at the same position.

    A latent token's position says which learned latent it came from, so that an id at another position means
    something else: positions are compared one by one, not as sets.

    Raises:
        DataError: there is no other image.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(ids) < 2:
        raise DataError(f"expected at least two images to compare, found {len(ids)}; set data.sets images higher")
    distances, rows = NearestNeighbors(n_neighbors=1, metric="hamming", algorithm="brute").fit(ids).kneighbors()
    return Nearest(rows[:, 0], 1 - distances[:, 0])


def closest_pairs(nearest: Nearest, count: int) -> np.ndarray:
    """Return at most `count` pairs (p, 2) of image numbers, most alike first, no image twice."""
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for row in np.argsort(-nearest.shared, kind="stable").tolist():
        other = int(nearest.rows[row])
        if len(pairs) < count and not {row, other} & taken:
            pairs.append((row, other))
            taken |= {row, other}
    return np.array(pairs, np.int64).reshape(-1, 2)
