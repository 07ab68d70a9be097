"""Distances between originals and reconstructions on an extractor's features, and their bootstrap over images.

Three distances, none of them a mean over images: the Fréchet distance, its value extrapolated to infinitely many
images, and the kernel distance. What the bootstrap needs of each is a value and an influence per image. These are small
where features are large: a kept run holds them for all that its ledger asked, and no features.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import Influence, resampled_influences
from alit.analysis.frechet import (
    FeatureStatistics,
    Root,
    covariance_root,
    features_root,
    features_to_statistics,
    frechet_influence,
)
from alit.analysis.grid import SweepGrid
from alit.analysis.kernel import kernel_between, kernel_influence, kernel_sums
from alit.analysis.selection import BootstrapConfig
from alit.errors import DataError

DistanceKind = Literal["frechet", "frechet_infinity", "kernel", "kernel_centered"]
T = TypeVar("T")
REFERENCES = 4  # decomposed sets of originals that are kept in memory: a whole set and its halves, and another
TABLE_COLUMNS = ["distance", "rows", "features", "value", "effects"]


class FeatureDistances:
    """Distances between rows of one extractor's features, each computed once, or known from a kept run.

    Rows are those of the sweep table. Effects are rounded to float32, as they are kept, so that a ledger comes out the
    same of both.

    Attributes:
        size: number of features f.
    """

    def __init__(self, features: np.ndarray) -> None:
        """Compute distances of features (table rows, f) as they are asked for."""
        self.size = int(features.shape[1])
        self._features: np.ndarray | None = features
        self._known: dict[tuple[str, str], Influence] = {}
        self._references: OrderedDict[tuple[str, bytes], object] = OrderedDict()

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "FeatureDistances":
        """Take the distances that `to_table` gave, in place of features."""
        kept = cls(np.empty((0, int(table["features"].iat[0]) if len(table) else 0)))
        kept._features = None
        columns = (table[name] for name in ("distance", "rows", "value", "effects"))
        for distance, rows, value, effects in zip(*columns, strict=True):
            kept._known[distance, rows] = Influence(float(value), np.asarray(effects, dtype=np.float32))
        return kept

    def to_table(self) -> pd.DataFrame:
        """Return all distances that were asked for so far.

        Returns:
            Columns distance (the name of the method), rows (digest of the compared rows of the sweep table), features
            (their number f), value, effects (a list: the influence of each image).
        """
        found = [(*key, self.size, known.value, known.effects) for key, known in sorted(self._known.items())]
        return pd.DataFrame(found, columns=TABLE_COLUMNS)

    def frechet(self, originals: np.ndarray, others: np.ndarray) -> Influence:
        """Return the Fréchet distance of rows `others` (n,) from rows `originals` (n,), by pairs of the same image."""
        return self._once("frechet", originals, others, self._frechet)

    def frechet_infinity(self, originals: np.ndarray, others: np.ndarray) -> Influence:
        """Return the Fréchet distance that infinitely many images would have, linear in 1 / n (Chong and Forsyth 2020).

        Twice the distance of all n images minus the mean of that of their two halves, every other image in each: the
        straight line through 1 / n and 2 / n, at 0. Each half must have more images than there are features
        (`can_extrapolate`); with fewer the bias is not linear in 1 / n, and most of it would stay.
        """
        return self._once("frechet_infinity", originals, others, self._frechet_infinity)

    def can_extrapolate(self, images: int) -> bool:
        """Whether so many images are enough for `frechet_infinity`."""
        return images >= 2 * (self.size + 1)

    def kernel(self, originals: np.ndarray, others: np.ndarray) -> Influence:
        """Return the kernel distance of rows `others` (n,) from rows `originals` (n,), by pairs of the same image."""
        return self._once("kernel", originals, others, self._kernel)

    def kernel_centered(self, originals: np.ndarray, others: np.ndarray) -> Influence:
        """Return the kernel distance of features minus the mean of the originals': for comparing one set with another.

        A cubic kernel grows with the features, so that the same change of features counts more in a set that lies
        farther from 0, whatever it looks like there. The Fréchet distance does not know where 0 is.
        """
        return self._once("kernel_centered", originals, others, lambda a, b: self._kernel(a, b, centered=True))

    def kernel_between(self, first: np.ndarray, second: np.ndarray) -> Influence:
        """Return the kernel distance of two sets of different images, rows (n,) and (m,); effects (n + m,)."""
        return self._once("kernel_between", first, second, lambda a, b: kernel_between(self._rows(a), self._rows(b)))

    def _once(
        self,
        distance: str,
        first: np.ndarray,
        second: np.ndarray,
        compute: Callable[[np.ndarray, np.ndarray], Influence],
    ) -> Influence:
        key = distance, sha256(b"|".join(_row_bytes(rows) for rows in (first, second))).hexdigest()[:16]
        if key not in self._known:
            if self._features is None:
                raise DataError(
                    f"expected a {distance} distance of {len(second)} images among the {len(self._known)} that are "
                    "kept beside the sweep, found none; only what the run's own ledger asked is kept: use a sweep that "
                    "has its features"
                )
            value, effects = compute(first, second)
            self._known[key] = Influence(value, effects.astype(np.float32))
        return self._known[key]

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        assert self._features is not None
        return self._features[rows]

    def _frechet(self, originals: np.ndarray, others: np.ndarray) -> Influence:
        assert self._features is not None
        reference, root = self._reference("frechet", originals, self._decompose)
        return frechet_influence(self._features, originals, others, reference, root)

    def _decompose(self, originals: np.ndarray) -> tuple[FeatureStatistics, Root]:
        features = self._rows(originals)
        reference = features_to_statistics(features)
        few = len(features) < self.size
        return reference, features_root(features) if few else covariance_root(reference.covariance)

    def _frechet_infinity(self, originals: np.ndarray, others: np.ndarray) -> Influence:
        if not self.can_extrapolate(len(originals)):
            raise DataError(
                f"expected at least {2 * (self.size + 1)} images to extrapolate a Fréchet distance on {self.size} "
                f"features, found {len(originals)}; use more images, or the kernel distance"
            )
        whole, effects, values = self._frechet(originals, others), np.empty(len(originals)), []
        for half in (slice(0, None, 2), slice(1, None, 2)):
            part = self._frechet(originals[half], others[half])
            effects[half] = part.effects * len(originals) / (2 * len(part.effects))
            values.append(part.value)
        return Influence(2 * whole.value - float(np.mean(values)), 2 * whole.effects - effects)

    def _kernel(self, originals: np.ndarray, others: np.ndarray, centered: bool = False) -> Influence:
        first, second = (np.asarray(self._rows(rows), dtype=np.float64) for rows in (originals, others))
        if centered:
            first, second = first - first.mean(axis=0), second - first.mean(axis=0)
        kind = "kernel_centered" if centered else "kernel"
        own = self._reference(kind, originals, lambda rows: kernel_sums(first, first))
        return kernel_influence(first, second, own)

    def _reference(self, distance: str, originals: np.ndarray, compute: Callable[[np.ndarray], T]) -> T:
        """Return what is computed of originals alone, once for all that they are compared with."""
        key = distance, _row_bytes(originals)
        if key not in self._references:
            self._references[key] = compute(originals)
            if len(self._references) > REFERENCES:
                self._references.popitem(last=False)
        self._references.move_to_end(key)
        return self._references[key]  # type: ignore[return-value]


Features = np.ndarray | FeatureDistances


def as_distances(features: Features) -> FeatureDistances:
    """Return the distances of features; what already is, passes through."""
    return features if isinstance(features, FeatureDistances) else FeatureDistances(features)


def sample_distances(
    features: Features, kind: DistanceKind, grid: SweepGrid, positions: np.ndarray, bootstrap: BootstrapConfig
) -> np.ndarray:
    """Return (1 + r, t) distances of t selections, positions (n, t), from the untouched images, value first.

    Images are drawn with replacement as everywhere, original and reconstruction together.

    Args:
        features: of the table's rows, or their distances.
        kind: the method of `FeatureDistances` that computes them. No number of images biases the kernel distances;
            those of centered features are to be compared between sets.
        grid: n images.
        positions: index into the grid's lengths.
        bootstrap: how images are drawn.

    Raises:
        DataError: the table has no rows of length 0 to compare with, or the images are too few: one, or fewer than
            `FeatureDistances.can_extrapolate` asks for.
    """
    if grid.clean_rows is None:
        raise DataError("expected rows of length 0 in the sweep table, the reference of distances, found none")
    distances, every = as_distances(features), np.arange(len(grid))
    compute = {
        "frechet": distances.frechet,
        "frechet_infinity": distances.frechet_infinity,
        "kernel": distances.kernel,
        "kernel_centered": distances.kernel_centered,
    }[kind]
    parts = [compute(grid.clean_rows, grid.rows[every, column]) for column in positions.T]
    return resampled_influences(parts, bootstrap.resamples, bootstrap.seed)


def sample_kernel_between(
    features: Features, first: SweepGrid, second: SweepGrid, bootstrap: BootstrapConfig, seeds: tuple[int, int]
) -> np.ndarray:
    """Return (1 + r,) kernel distances between the untouched images of two sets, each resampled with its own seed.

    Raises:
        DataError: as `sample_distances`.
    """
    if first.clean_rows is None or second.clean_rows is None:
        raise DataError("expected rows of length 0 in the sweep table, the untouched images, found none")
    found = as_distances(features).kernel_between(first.clean_rows, second.clean_rows)
    parts = np.split(found.effects, [len(first)])
    moved = [
        resampled_influences([Influence(0.0, effects)], bootstrap.resamples, seed)[:, 0]
        for effects, seed in zip(parts, seeds, strict=True)
    ]
    return found.value + moved[0] + moved[1]


def _row_bytes(rows: np.ndarray) -> bytes:
    return np.ascontiguousarray(rows, dtype="<i8").tobytes()
