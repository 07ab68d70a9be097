"""Part of an image set, read by row like the whole."""

import numpy as np
import pandas as pd
from torch import Tensor

from alit.data.imageset import ImageSet, Indices


def chosen_indices(length: int, limit: int | None) -> list[int]:
    """Return at most `limit` indices, spread evenly over `length`, so that every class gets its share."""
    count = length if limit is None else min(limit, length)
    return [index * length // count for index in range(count)]


class Subset:
    """At most `limit` images of a set, spread evenly over it."""

    def __init__(self, whole: ImageSet, limit: int | None) -> None:
        self.name = whole.name
        self.image_size = whole.image_size
        self.class_names = whole.class_names
        self._whole = whole
        self._rows = np.array(chosen_indices(len(whole), limit), dtype=np.int64)
        self.manifest: pd.DataFrame = whole.manifest.iloc[self._rows].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, indices: Indices) -> Tensor:
        """Return float32 images (b, 3, h, w) in [0, 1]."""
        return self._whole.images(self._in_whole(indices))

    def labels(self, indices: Indices) -> Tensor:
        """Return int64 labels (b,), -1 where unknown."""
        return self._whole.labels(self._in_whole(indices))

    def depth(self, indices: Indices) -> Tensor | None:
        """Return depth (b, h, w) in metres, or None."""
        return self._whole.depth(self._in_whole(indices))

    def inverse_depth(self, indices: Indices) -> Tensor | None:
        """Return relative inverse depth (b, h, w), larger is nearer, or None."""
        return self._whole.inverse_depth(self._in_whole(indices))

    def captions(self, indices: Indices) -> list[str | None]:
        """Return what each picture shows, in words; None where unknown."""
        return self._whole.captions(self._in_whole(indices))

    def _in_whole(self, indices: Indices) -> np.ndarray:
        return self._rows[np.asarray(indices, np.int64)]
