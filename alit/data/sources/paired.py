"""Images with a file beside each: segmentation masks (ImageNet-S, COCO panoptic, plain PNG files) or a depth map.

Where masks lie and how their pixels are coded is in `MASK_LAYOUTS`; the ending of a depth map's name tells whether it
holds relative inverse depth or millimeters (`DEPTH_LAYOUTS`). data/README.md has both as tables.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alit.data.decoding import describe_fault, read_pixels
from alit.data.listing import list_images
from alit.data.sources import UNKNOWN_SEGMENT
from alit.data.sources.folder import PairedSource, describe_files
from alit.errors import DataError

_BACKGROUND, _UNKNOWN = 0, -1  # among ids, before segments are numbered


class MaskLayout(NamedTuple):
    """Where masks lie and how their pixels are read."""

    read: Callable[[np.ndarray], np.ndarray]  # pixels of a PNG -> ids (h, w)
    folders: tuple[str, ...]  # below the root, a copy of the images' tree
    suffixes: tuple[str, ...]  # of the file names of masks that lie beside their images


class MaskedSource(PairedSource[MaskLayout]):
    """Images in files with a mask file each."""

    def masks(self, index: int) -> np.ndarray:
        """Return the segment of each pixel, uint8 (h, w), numbered from 1 in the order of their ids.

        Raises:
            DataError: the image has no mask file, or one that cannot be read.
        """
        path = self.partner(index, "no mask file")
        try:
            return number_segments(self.layout.read(read_pixels(path)))
        except DataError as error:
            raise DataError(f"mask {path.name}: {error}") from error


def masked_source(name: str, root: Path, split: str, source: str) -> MaskedSource:
    """Find the images in `root/<split>`, or in `root` itself, and the mask of each.

    Classes are those of `folder_source`. An image without a mask is not left out in silence: reading its mask fails.

    Raises:
        DataError: there is no image, or no image has a mask.
    """
    layout = MASK_LAYOUTS[source]
    base = root / split if (root / split).is_dir() else root
    folders = [root / folder.format(split=split) for folder in layout.folders]
    files = [path for path in list_images(base) if not _is_mask(path, folders)]
    masks = tuple(_mask_of(path.relative_to(base), base, folders, layout.suffixes) for path in files)
    if not any(masks):
        places = [f"{folder}/<image>.png" for folder in folders] + [f"<image>{end}.png" for end in layout.suffixes]
        raise DataError(f"expected images in {base} with masks at {' or '.join(places)}, found none")
    records, class_names = describe_files(root, base, files, split)
    return MaskedSource(name, root, records, class_names, masks, layout)


def number_segments(ids: np.ndarray) -> np.ndarray:
    """Turn ids (h, w) into uint8 segment numbers: 0 stays background, unknown pixels become `UNKNOWN_SEGMENT`.

    Raises:
        DataError: there are more segments than numbers.
    """
    found, places = np.unique(ids, return_inverse=True)
    segments = int((found > _BACKGROUND).sum())
    if segments >= UNKNOWN_SEGMENT:
        raise DataError(f"{segments} segments in one image, at most {UNKNOWN_SEGMENT - 1} can be told apart")
    numbers = np.cumsum(found > _BACKGROUND)
    numbers[found == _UNKNOWN] = UNKNOWN_SEGMENT
    return numbers.astype(np.uint8)[places.reshape(ids.shape)]


def class_ids(pixels: np.ndarray) -> np.ndarray:
    """Read the coding of ImageNet-S: class R + 256 G, 1000 where annotators could not tell."""
    ids = _colors(pixels)[..., :2] @ np.array([1, 256])
    return np.where(ids == 1000, _UNKNOWN, ids)


def panoptic_ids(pixels: np.ndarray) -> np.ndarray:
    """Read the coding of COCO panoptic: segment R + 256 G + 65536 B, 0 where nothing was annotated."""
    ids = _colors(pixels) @ np.array([1, 256, 65536])
    return np.where(ids == 0, _UNKNOWN, ids)


def plain_ids(pixels: np.ndarray) -> np.ndarray:
    """Read any other mask: the value or the color is the id; black is background, the value 255 unknown."""
    if pixels.ndim == 3:
        return _colors(pixels) @ np.array([1, 256, 65536])
    ids = pixels.astype(np.int64)
    return np.where(ids == 255, _UNKNOWN, ids)


MASK_LAYOUTS = {
    "imagenet_s": MaskLayout(class_ids, ("{split}-segmentation",), ()),
    "panoptic": MaskLayout(panoptic_ids, ("annotations/panoptic_{split}", "panoptic_{split}"), ("_pan",)),
    "masks": MaskLayout(plain_ids, ("{split}_masks",), ("_mask", "_sem")),
}
_SUFFIXES = tuple(suffix for layout in MASK_LAYOUTS.values() for suffix in layout.suffixes)


def _is_mask(path: Path, folders: list[Path]) -> bool:
    beside = path.suffix.lower() == ".png" and path.stem.endswith(_SUFFIXES)
    return beside or any(path.is_relative_to(folder) for folder in folders)


def _mask_of(image: Path, base: Path, folders: list[Path], suffixes: tuple[str, ...]) -> Path | None:
    """Return the mask file of an image, given by its path below `base`."""
    places = [(folder / image).with_suffix(".png") for folder in folders]
    places += [(base / image).with_name(f"{image.stem}{suffix}.png") for suffix in suffixes]
    return next((path for path in places if path.is_file()), None)


def _colors(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise DataError(f"expected colors (h, w, 3), found values {pixels.shape}")
    return pixels[..., :3].astype(np.int64)


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
        return hashlib.sha256(self.path(index).read_bytes() + self._map(index).read_bytes()).hexdigest()

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
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except Exception as error:  # zipfile, zlib and numpy raise a dozen classes on damaged files
        raise DataError(describe_fault(error)) from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "several arrays"
        raise DataError(f"expected floats (h, w), found {found}")
    known = values[np.isfinite(values)]
    if known.size and np.abs(known).max() > np.finfo(np.float32).max:
        raise DataError("numbers beyond the range of float32")
    _require_order(known)
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
