"""Image sets as every later stage sees them: a folder with a manifest, read by row."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt, ValidationError
from torch import Tensor

from alit.data.decode import read_image
from alit.data.locate import data_roots, locate_data
from alit.data.manifest import read_manifest
from alit.data.transforms import centre_view, to_images
from alit.errors import DataError
from alit.settings import Settings

Indices = Sequence[int] | np.ndarray | Tensor


class SetCard(Settings):
    """`set.json`: what a set is, beside its manifest."""

    name: str
    role: Literal["train", "evaluate", "check", "study", "task"]
    source: str
    path: str | None  # below $ALIT_DATA or data/
    variant: str | None  # of embedded scenes
    split: str
    image_size: PositiveInt
    packed: bool
    class_names: tuple[str, ...]


class ImageSet:
    """Square images with what is known about them, by row of the manifest.

    A packed set memory-maps `images.npy` (uint8 n h w c), `depth.npy` (float16 n h w, metres) or
    `inverse_depth.npy` (float32 n h w), and `masks.npy` (uint8 n h w); another reads files below `root`.
    """

    def __init__(self, folder: Path, card: SetCard, root: Path | None) -> None:
        self.folder = folder
        self.name = card.name
        self.role = card.role
        self.image_size = card.image_size
        self.class_names = card.class_names
        self.manifest: pd.DataFrame = read_manifest(folder / "manifest.csv")
        self._root = root
        if root is None and len(self._array("images.npy")) != len(self.manifest):
            raise DataError(f"{folder}: images.npy and manifest.csv differ in length; run the data stage again")

    def __len__(self) -> int:
        return len(self.manifest)

    def images(self, indices: Indices) -> Tensor:
        """Return float32 images (b, 3, h, w) in [0, 1].

        Raises:
            DataError: a file has become unreadable since the data stage.
        """
        rows = np.asarray(indices, np.int64)
        if self._root is None:
            return to_images(self._array("images.npy")[rows])
        return to_images(np.stack([self._view(int(row)) for row in rows]))

    def labels(self, indices: Indices) -> Tensor:
        """Return int64 labels (b,) into `class_names`, -1 where unknown."""
        return torch.from_numpy(self._labels[np.asarray(indices, np.int64)])

    def depth(self, indices: Indices) -> Tensor | None:
        """Return float32 depth (b, h, w) in metres, or None for a set without."""
        rows = self._rows("depth.npy", indices)
        return None if rows is None else torch.from_numpy(rows.astype(np.float32))

    def inverse_depth(self, indices: Indices) -> Tensor | None:
        """Return relative inverse depth (b, h, w), larger is nearer, or None for a set without; not finite: unknown."""
        rows = self._rows("inverse_depth.npy", indices)
        return None if rows is None else torch.from_numpy(rows)

    def captions(self, indices: Indices) -> list[str | None]:
        """Return the reference caption of each image, None where there is none."""
        rows = self.manifest["caption"].iloc[np.asarray(indices, np.int64)]
        return [None if pd.isna(caption) else str(caption) for caption in rows]

    def masks(self, indices: Indices) -> Tensor | None:
        """Return the segment of each pixel, uint8 (b, h, w), or None for a set without.

        Segments of an image (instances, or classes) are numbered from 1; 0 is background, 255 unknown.
        """
        rows = self._rows("masks.npy", indices)
        return None if rows is None else torch.from_numpy(rows)

    @cached_property
    def _labels(self) -> np.ndarray:
        return self.manifest["label"].fillna(-1).to_numpy(np.int64)

    def _view(self, row: int) -> np.ndarray:
        assert self._root is not None
        path = self._root / str(self.manifest["origin"].iloc[row])
        try:
            return centre_view(read_image(path), self.image_size)
        except DataError as error:
            raise DataError(f"{path}: {error}; it was readable before, so run the data stage again") from error

    def _rows(self, name: str, indices: Indices) -> np.ndarray | None:
        """Copy rows of an optional array."""
        return self._array(name)[np.asarray(indices, np.int64)] if (self.folder / name).is_file() else None

    def _array(self, name: str) -> np.ndarray:
        """Map an array anew on each use: a kept map would keep every page that was ever read resident."""
        try:
            return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / name} is missing or damaged; run the data stage again") from error


def open_set(folder: Path, *, data_root: Path | None = None) -> ImageSet:
    """Open a set that the data stage wrote.

    Args:
        folder: `runs/<profile>/data/<name>`.
        data_root: for a set that is not packed, the folder that its path is relative to; by default
            `$ALIT_DATA`, else `data/` of the checkout that `folder` lies in.

    Raises:
        DataError: the folder is not a set, or the files of an unpacked one are missing.
    """
    try:
        card = SetCard.model_validate(json.loads((folder / "set.json").read_text()))
    except (OSError, json.JSONDecodeError, ValidationError) as error:
        raise DataError(
            f"expected an image set in {folder}, found none that can be read; run the data stage"
        ) from error
    if card.packed or card.path is None:
        return ImageSet(folder, card, None)
    checkout = folder.resolve().parents[3]  # of <checkout>/runs/<profile>/data/<name>
    roots = (data_root,) if data_root is not None else data_roots(checkout)
    return ImageSet(folder, card, locate_data(card.path, roots))
