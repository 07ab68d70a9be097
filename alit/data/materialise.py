"""From sources to image sets on disk: decode once, list what cannot be read, leave whole sets only."""

import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from alit.config.s_data import DataConfig, ImageSetConfig
from alit.data.arrays import ArrayWriter
from alit.data.build import build_source
from alit.data.imageset import SetCard
from alit.data.manifest import build_manifest, write_manifest
from alit.data.sources import ImageSource, Record
from alit.data.subset import chosen_indices
from alit.data.transforms import centre_map, centre_view
from alit.errors import ConfigError, DataError

_CHUNK = 64  # images decoded side by side, and held in memory


class Rejected(NamedTuple):
    """An image that could not be read."""

    set: str
    origin: str
    reason: str


class View(NamedTuple):
    """One image as it enters a set."""

    record: Record
    sha256: str
    image: np.ndarray  # uint8 (h, w, 3)
    depth: np.ndarray | None  # float16 (h, w), metres
    inverse_depth: np.ndarray | None  # float32 (h, w): its scale is unknown, so that float16 may be too narrow
    masks: np.ndarray | None  # uint8 (h, w)


def materialise_sets(config: DataConfig, folder: Path, rejected: Path, roots: tuple[Path, ...]) -> None:
    """Write every set of a profile to `folder/<name>` and the list of unreadable images to `rejected`.

    The list (set, origin, reason) is written even when it is empty and when the stage stops.

    Raises:
        ConfigError: two sets have the same name, or the settings of one are incomplete.
        DataError: data are missing, or a set has more unreadable images than `rejected_share` allows.
    """
    names = [one.name for one in config.sets]
    if len(set(names)) != len(names):
        raise ConfigError(f"data.sets: expected a name of its own for each set, found {', '.join(names)}")
    sources = [build_source(one, config.image_size, roots) for one in config.sets]  # all faults before any work
    refused: list[Rejected] = []
    try:
        for source, one in zip(sources, config.sets, strict=True):
            found = write_set(source, one, config.image_size, folder / one.name)
            refused.extend(found)
            _check_share(
                found,
                chosen_indices(len(source), one.images),
                config.rejected_share,
                folder / one.name,
                rejected,
            )
    finally:
        _write_rejected(refused, rejected)


def write_set(source: ImageSource, config: ImageSetConfig, image_size: int, folder: Path) -> list[Rejected]:
    """Write one set to `folder` and return its unreadable images.

    The set is written beside `folder` and renamed when it is whole: a killed run leaves no set.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    indices = chosen_indices(len(source), config.images)
    records, digests, refused = [], [], []
    with ExitStack() as files:
        writers: dict[str, ArrayWriter] = {}
        progress = tqdm(_views(source, indices, image_size), f"data: {config.name}", len(indices), unit="image")
        for view in progress:
            if isinstance(view, Rejected):
                refused.append(view)
                progress.set_postfix(rejected=len(refused))
                continue
            records.append(view.record)
            digests.append(view.sha256)
            for name, array in _arrays(view, config.pack):
                if name not in writers:
                    writers[name] = files.enter_context(ArrayWriter(partial / name))
                writers[name].append(array)
    write_manifest(build_manifest(records, digests), partial / "manifest.csv")
    _write_card(source, config, image_size, partial / "set.json")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return refused


def _write_card(source: ImageSource, config: ImageSetConfig, image_size: int, path: Path) -> None:
    """Write what the set is, as `open_set` reads it."""
    card = SetCard(
        name=config.name,
        role=config.role,
        source=config.source,
        path=config.path,
        variant=config.variant if config.source == "scenes" else None,
        split=config.split,
        image_size=image_size,
        packed=config.pack,
        class_names=source.class_names,
    )
    path.write_text(json.dumps(card.model_dump(), indent=2) + "\n")


def _views(source: ImageSource, indices: Sequence[int], size: int) -> Iterator[View | Rejected]:
    """Decode images in order, a chunk at a time on threads: Pillow decodes outside the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(indices), _CHUNK):
            yield from pool.map(lambda index: _view(source, index, size), indices[start : start + _CHUNK])


def _view(source: ImageSource, index: int, size: int) -> View | Rejected:
    """Decode one image, or say why not."""
    try:
        image, depth, masks = source.read(index), source.depth(index), source.masks(index)
        inverse_depth = source.inverse_depth(index)
        for name, found in (("depth", depth), ("inverse depth", inverse_depth), ("masks", masks)):
            if found is not None and found.shape != image.shape[:2]:
                raise DataError(f"expected {name} of the image's size {image.shape[:2]}, found {found.shape}")
        return View(
            record=source.record(index),
            sha256=source.digest(index),
            image=centre_view(image, size),
            depth=None if depth is None else centre_map(depth, size).astype(np.float16),
            inverse_depth=None if inverse_depth is None else centre_map(inverse_depth, size),
            masks=None if masks is None else centre_map(masks, size),
        )
    except DataError as error:
        return Rejected(source.name, source.record(index).origin, str(error))


def _arrays(view: View, pack: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Name the arrays that a set keeps of one view."""
    if pack:
        yield "images.npy", view.image
    if view.depth is not None:
        yield "depth.npy", view.depth
    if view.inverse_depth is not None:
        yield "inverse_depth.npy", view.inverse_depth
    if view.masks is not None:
        yield "masks.npy", view.masks


def _check_share(refused: list[Rejected], indices: list[int], share: float, folder: Path, listing: Path) -> None:
    """Stop at a set with too many unreadable images, or with none that is readable."""
    found = len(refused) / len(indices)
    if found > share or len(refused) == len(indices):
        shutil.rmtree(folder, ignore_errors=True)
        first = refused[0]
        raise DataError(
            f"{first.set}: {len(refused)} of {len(indices)} images could not be read ({found:.1%}; "
            f"rejected_share allows {share:.1%}), the first is {first.origin}: {first.reason}; "
            f"all are listed in {listing}"
        )


def _write_rejected(refused: list[Rejected], path: Path) -> None:
    """Write the list of unreadable images; only a header when every image was read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Rejected._fields)
        writer.writerows(refused)
