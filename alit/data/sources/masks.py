"""Images with segmentation masks in PNG files: ImageNet-S, panoptic masks (COCO), plain mask folders.

Where the masks lie and how their pixels are coded is in `MASK_LAYOUTS` and, as a table, in data/README.md.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alit.data.images import read_pixels
from alit.data.sources.folder import PairedSource, describe_files
from alit.data.sources.source import UNKNOWN_SEGMENT, list_images
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
