"""Images with a depth map each, in a file beside the image: relative inverse depth, or millimeters.

The ending of the maps' names tells which kind a folder holds; see `DEPTH_LAYOUTS` and data/README.md.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alit.data.images import describe_fault, read_pixels
from alit.data.sources.folder import PairedSource, describe_files
from alit.data.sources.source import list_images
from alit.errors import DataError


class DepthLayout(NamedTuple):
    """How the maps of one kind are named and read."""

    ending: str  # in place of the image's own, dot and all
    inverse: bool  # larger is nearer, of unknown scale and shift; else meters
    read: Callable[[Path], np.ndarray]  # file -> float32 (h, w)


class DepthSource(PairedSource[DepthLayout]):
    """Images in files with a file of depth each."""

    def depth(self, index: int) -> np.ndarray | None:
        """Return meters from the camera, float32 (h, w), 0 where unknown, or None where maps are relative.

        Raises:
            DataError: the image has no map, or one that cannot be read or holds no known value.
        """
        return None if self.layout.inverse else self._read(index)

    def inverse_depth(self, index: int) -> np.ndarray | None:
        """Return relative inverse depth, float32 (h, w), or None where maps are in millimeters.

        Raises:
            DataError: see `depth`.
        """
        return self._read(index) if self.layout.inverse else None

    def digest(self, index: int) -> str:
        """Return the sha256 of the image's file and its map's, one behind the other."""
        image = self.root / self.records[index].origin
        return hashlib.sha256(image.read_bytes() + self._map(index).read_bytes()).hexdigest()

    def _read(self, index: int) -> np.ndarray:
        path = self._map(index)
        try:
            return self.layout.read(path)
        except DataError as error:
            raise DataError(f"depth {path.name}: {error}") from error

    def _map(self, index: int) -> Path:
        return self.partner(index, f"no depth file: expected one that ends in {self.layout.ending} beside the image")


def depth_source(name: str, root: Path, split: str) -> DepthSource:
    """Find the images in `root/<split>`, or in `root` itself, and the depth map beside each.

    Classes are those of `folder_source`. An image without a map is not left out in silence: reading its map fails.

    Raises:
        DataError: there is no image, no image has a map, or the maps are of two kinds.
    """
    base = root / split if (root / split).is_dir() else root
    files = [path for path in list_images(base) if not path.name.endswith(tuple(each.ending for each in DEPTH_LAYOUTS))]
    found = {layout: tuple(_map_of(path, layout.ending) for path in files) for layout in DEPTH_LAYOUTS}
    kinds = [layout for layout, maps in found.items() if any(maps)]
    endings = [f"<image>{layout.ending}" for layout in kinds or DEPTH_LAYOUTS]
    if not kinds:
        raise DataError(f"expected images in {base} with depth at {' or '.join(endings)}, found none")
    if len(kinds) > 1:
        raise DataError(f"expected one kind of depth in {base}, found {' and '.join(endings)}; make a set of each")
    records, class_names = describe_files(root, base, files, split)
    return DepthSource(name, root, records, class_names, found[kinds[0]], kinds[0])


def read_inverse_depth(path: Path) -> np.ndarray:
    """Read an array of floats (h, w), larger is nearer, as a relative depth network answers; not finite is unknown.

    Raises:
        DataError: the file is damaged, of another kind or shape, or puts no pixel before another.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(describe_fault(error)) from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "several arrays"
        raise DataError(f"expected floats (h, w), found {found}")
    _require_order(values[np.isfinite(values)])
    return values.astype(np.float32)


def read_millimeters(path: Path) -> np.ndarray:
    """Read a PNG of whole millimeters, 0 where nothing was measured, into meters (h, w).

    Raises:
        DataError: see `read_inverse_depth`.
    """
    values = read_pixels(path)
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"expected one channel of whole millimeters, found {values.dtype} {values.shape}")
    _require_order(values[values > 0])
    return values.astype(np.float32) / 1000


DEPTH_LAYOUTS = (DepthLayout(".npy", True, read_inverse_depth), DepthLayout("_mm.png", False, read_millimeters))


def _require_order(known: np.ndarray) -> None:
    """Refuse a map that puts no pixel before another."""
    if not known.size or known.min() == known.max():
        raise DataError("expected pixels of known and different depth, found none")


def _map_of(image: Path, ending: str) -> Path | None:
    path = image.with_name(f"{image.stem}{ending}")
    return path if path.is_file() else None
