"""From sources to image sets on disk: decode each image once, list the unreadable ones, write whole sets only."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
from tqdm import tqdm

from alit.data.crops import CROP_ASPECT
from alit.data.images import center_map, center_view
from alit.data.imageset import (
    CARD_FILE,
    SetCard,
    SetDescription,
    build_manifest,
    write_manifest,
)
from alit.data.listing import chosen_indices
from alit.data.locate import locate_data
from alit.data.scenes.scene import ControlledSource, SceneSource
from alit.data.sources import FACTORS, Factor, ImageSource, Record
from alit.data.sources.folder import folder_source, savoias_source
from alit.data.sources.huggingface import huggingface_source
from alit.data.sources.packed import PackedSource
from alit.data.sources.paired import MASK_LAYOUTS, depth_source, masked_source
from alit.data.sources.webdataset import webdataset_source
from alit.errors import ConfigError, DataError
from alit.files import plain_text
from alit.settings import Settings


class ImageSetConfig(SetDescription):
    """One image set: where it comes from and what it is used for."""

    source: (
        Literal["scenes", "folder", "savoias", "packed", "imagenet_s", "panoptic", "masks", "depth_pairs"]
        | Literal["webdataset", "huggingface"]
    )
    variant: Literal["base", "near", "far", Factor]  # scenes only; a factor has every scene at each of its levels
    images: PositiveInt | None  # at most so many, chosen evenly over the whole set; null takes all
    pack: bool  # decode once into an array (small sets) or read files on demand


class DataConfig(Settings):
    """All image sets of a profile; the first set with role train trains the tokenizer."""

    image_size: PositiveInt  # pixels per side after resize and center crop
    rejected_share: float = Field(ge=0, le=1)  # unreadable images tolerated before the stage stops
    flip: bool  # horizontal flips while training
    crop_scale: float = Field(gt=0, le=1)  # smallest area share of a random training crop; 1 never crops
    # Least and greatest width over height of a crop. The default is not written out: what was trained before this key
    # keeps its digest, and none of it was cropped.
    crop_aspect: tuple[PositiveFloat, PositiveFloat] = Field(
        default=CROP_ASPECT, exclude_if=lambda value: value == CROP_ASPECT
    )
    sets: tuple[ImageSetConfig, ...]


def build_source(config: ImageSetConfig, image_size: int, roots: tuple[Path, ...]) -> ImageSource:
    """Return the source of one set; `roots` are the folders that may hold real data.

    Raises:
        ConfigError: a setting that this kind of source needs is missing.
        DataError: the data are missing (the message names what to fetch) or of another layout.
    """
    if config.source == "scenes":
        if config.images is None or not config.pack:
            raise ConfigError(f"data.sets {config.name}: scenes need a number of images and pack: true")
        if config.variant in FACTORS:
            return ControlledSource(config.name, config.variant, config.split, config.images, image_size)
        return SceneSource(config.name, config.variant, config.split, config.images, image_size)
    if config.path is None:
        raise ConfigError(f"data.sets {config.name}: source {config.source} needs a path below $ALIT_DATA or data/")
    if config.source == "huggingface":
        return huggingface_source(config.name, config.path, config.split, roots)
    root = locate_data(config.path, roots)
    if config.source == "webdataset":
        return webdataset_source(config.name, root, config.split)
    if config.source == "folder":
        return folder_source(config.name, root, config.split)
    if config.source in MASK_LAYOUTS:
        return masked_source(config.name, root, config.split, config.source)
    if config.source == "depth_pairs":
        return depth_source(config.name, root, config.split)
    if config.source == "savoias":
        return savoias_source(config.name, root, config.split)
    if not config.pack:
        raise ConfigError(f"data.sets {config.name}: source packed needs pack: true")
    return PackedSource(config.name, root, config.split)


SETTINGS_FILE = "settings.json"  # beside the sets: what they were made by, for the trainings that depend on it
_CHUNK = 64  # images decoded side by side, and held in memory


class Rejected(NamedTuple):
    """An image that could not be read."""

    set: str
    origin: str
    reason: str


class PreparedImage(NamedTuple):
    """One image as it enters a set."""

    record: Record
    sha256: str
    image: np.ndarray  # uint8 (h, w, 3)
    depth: np.ndarray | None  # float16 (h, w), meters
    inverse_depth: np.ndarray | None  # float32 (h, w): its scale is unknown, so that float16 may be too narrow
    masks: np.ndarray | None  # uint8 (h, w)


def materialize_sets(config: DataConfig, folder: Path, rejected: Path, roots: tuple[Path, ...]) -> None:
    """Write every set of a profile to `folder/<name>`, their settings, and the list of unreadable images to `rejected`.

    The list (set, origin, reason) is written even when it is empty and when the stage stops.

    Raises:
        ConfigError: two sets have the same name, or the settings of one are incomplete.
        DataError: data are missing, or a set has more unreadable images than `rejected_share` allows.
    """
    names = [one.name for one in config.sets]
    if len(set(names)) != len(names):
        raise ConfigError(f"data.sets: expected a different name for each set, found {', '.join(names)}")
    sources = [build_source(one, config.image_size, roots) for one in config.sets]  # all faults before any work
    refused: list[Rejected] = []
    try:
        for position, (source, one) in enumerate(zip(sources, config.sets, strict=True)):
            if source.skipped:
                tqdm.write(f"{one.name}: {source.skipped}", file=sys.stderr)
            found = write_set(source, one, config.image_size, folder / one.name, position, config.rejected_share)
            refused.extend(found)
            images = len(chosen_indices(len(source), one.images))
            _check_share(found, images, config.rejected_share, folder / one.name, rejected)
    finally:
        _write_rejected(refused, rejected)
    (folder / SETTINGS_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_set(
    source: ImageSource,
    config: ImageSetConfig,
    image_size: int,
    folder: Path,
    position: int = 0,
    rejected_share: float = 0.0,
) -> list[Rejected]:
    """Write one set, at its position among the sets of a profile, to `folder` and return its unreadable images.

    The set is written beside `folder` and renamed when it is whole: a killed run leaves no set.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    indices = chosen_indices(len(source), config.images)
    records, digests, refused = [], [], []
    with ExitStack() as files:
        writers: dict[str, ArrayWriter] = {}
        progress = tqdm(_prepare(source, indices, image_size), f"data: {config.name}", len(indices), unit="image")
        for prepared in progress:
            if isinstance(prepared, Rejected):
                refused.append(prepared)
                progress.set_postfix(rejected=len(refused))
                continue
            records.append(prepared.record)
            digests.append(prepared.sha256)
            for name, array in _arrays(prepared, config.pack):
                if name not in writers:
                    writers[name] = files.enter_context(ArrayWriter(partial / name))
                writers[name].append(array)
    write_manifest(build_manifest(records, digests), partial / "manifest.csv")
    card = _card(source, config, image_size, position, rejected_share)
    (partial / CARD_FILE).write_text(json.dumps(card.model_dump(), indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return refused


def _card(
    source: ImageSource, config: ImageSetConfig, image_size: int, position: int, rejected_share: float
) -> SetCard:
    """Return the card of a set, as `open_set` reads it."""
    return SetCard(
        name=config.name,
        role=config.role,
        source=config.source,
        path=config.path,
        variant=config.variant if config.source == "scenes" else None,
        split=config.split,
        image_size=image_size,
        packed=config.pack,
        class_names=tuple(map(plain_text, source.class_names)),
        position=position,
        rejected_share=rejected_share,
    )


def _prepare(source: ImageSource, indices: Sequence[int], size: int) -> Iterator[PreparedImage | Rejected]:
    """Decode images in order, a chunk at a time on threads: Pillow decodes outside the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(indices), _CHUNK):
            yield from pool.map(lambda index: _prepare_one(source, index, size), indices[start : start + _CHUNK])


def _prepare_one(source: ImageSource, index: int, size: int) -> PreparedImage | Rejected:
    """Decode one image, with what belongs to it, or return why it cannot be read."""
    try:
        image, depth, masks = source.read(index), source.depth(index), source.masks(index)
        inverse_depth = source.inverse_depth(index)
        for name, found in (("depth", depth), ("inverse depth", inverse_depth), ("masks", masks)):
            if found is not None and found.shape != image.shape[:2]:
                raise DataError(f"expected {name} of the image's size {image.shape[:2]}, found {found.shape}")
        return PreparedImage(
            record=source.record(index),
            sha256=source.digest(index),
            image=center_view(image, size),
            depth=None if depth is None else center_map(depth, size).astype(np.float16),
            inverse_depth=None if inverse_depth is None else center_map(inverse_depth, size),
            masks=None if masks is None else center_map(masks, size),
        )
    except (DataError, OSError, MemoryError) as error:  # also a file that has just gone, or a picture beyond memory
        return Rejected(source.name, source.record(index).origin, str(error) or type(error).__name__)


def _arrays(prepared: PreparedImage, pack: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays that a set keeps of one image, each with the name of its file."""
    if pack:
        yield "images.npy", prepared.image
    if prepared.depth is not None:
        yield "depth.npy", prepared.depth
    if prepared.inverse_depth is not None:
        yield "inverse_depth.npy", prepared.inverse_depth
    if prepared.masks is not None:
        yield "masks.npy", prepared.masks


def _check_share(refused: list[Rejected], images: int, share: float, folder: Path, listing: Path) -> None:
    """Stop at a set with too many unreadable images, or with none that is readable."""
    found = len(refused) / images
    if found > share or len(refused) == images:
        shutil.rmtree(folder, ignore_errors=True)
        first = refused[0]
        raise DataError(
            f"{first.set}: {len(refused)} of {images} images could not be read ({found:.1%}; "
            f"rejected_share allows {share:.1%}), the first is {first.origin}: {first.reason}; "
            f"all are listed in {listing}"
        )


def _write_rejected(refused: list[Rejected], path: Path) -> None:
    """Write the list of unreadable images; only a header when every image was read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reason may hold a name that is no text.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Rejected._fields)
        writer.writerows(refused)


class ArrayWriter:
    """Appends equal arrays to a `.npy` file in constant memory; the header is completed on exit.

    The bytes depend on the arrays alone. NumPy pads its header so that the row count can grow in place. A memory map
    would count as used memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = 0
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.uint8)

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def append(self, row: np.ndarray) -> None:
        """Write one row; every row must have the shape and type of the first."""
        self.extend(row[None])

    def extend(self, rows: np.ndarray) -> None:
        """Write rows (n, ...); every row must have the shape and type of the first."""
        if self._rows == 0:
            self._shape, self._dtype = rows.shape[1:], rows.dtype
            self._write_header()
        if (rows.shape[1:], rows.dtype) != (self._shape, self._dtype):
            raise ValueError(f"expected {self._dtype} {self._shape}, got {rows.dtype} {rows.shape[1:]}")
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._rows += len(rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)
