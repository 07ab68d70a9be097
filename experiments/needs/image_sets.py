"""The image sets that a profile needs: how many images it asks for, and how many are on this machine."""

import csv
from collections.abc import Iterator
from pathlib import Path

from alit.data.locate import count_images, data_roots, how_to_get, locate_data, whole_size
from alit.data.prepare import SETTINGS_FILE, DataConfig, ImageSetConfig, build_source
from alit.errors import DataError
from alit.paths import RunPaths
from experiments.needs.need import Need


def image_set_needs(data: DataConfig, paths: RunPaths) -> Iterator[Need]:
    """Yield one need per image set; those that the data stage has made from these settings count as they are."""
    roots = data_roots(paths.root)
    settings = paths.data / SETTINGS_FILE
    made = settings.is_file() and settings.read_text(encoding="utf-8") == data.model_dump_json(indent=2) + "\n"
    for one in data.sets:
        needed = images_needed(one)
        words = "images" if needed is None else f"{needed:,} images"
        try:
            if one.source == "scenes":
                yield Need("image set", one.name, words, "made here from seeds")
                continue
            if made and one.pack:
                found = f"{_rows(paths.data / one.name):,} images, packed by the stage data"
                yield Need("image set", one.name, words, found)
                continue
            root = one.path if one.source == "huggingface" else locate_data(str(one.path), roots)
            found = _count(one, Path(str(root)), data.image_size, roots)
        except DataError as error:
            expected, _, remedy = str(error).partition("; ")
            there = any((place / str(one.path)).exists() for place in roots)
            remedy = f"{error}; {how_to_get(str(one.path), roots)}" if there else remedy or expected
            yield Need("image set", one.name, words, "another layout" if there else "none", remedy)
            continue
        remedy = ""
        if found < (needed or 1):
            remedy = (
                f"{root} holds {found:,} images of split {one.split}; {how_to_get(str(one.path), roots)}; or write "
                f"images: {max(found, 1)} in data.sets to run on what is there"
            )
        yield Need("image set", one.name, words, f"{found:,} images", remedy)


def images_needed(one: ImageSetConfig) -> int | None:
    """Return how many images a set must have: `images` of the profile, else all of a known set."""
    whole = None if one.path is None else whole_size(one.path, one.split)
    known = [number for number in (one.images, whole) if number is not None]
    return min(known) if known else None


def _count(one: ImageSetConfig, root: Path, image_size: int, roots: tuple[Path, ...]) -> int:
    """Return how many images a set has on disk; none is decoded."""
    if one.source == "folder":
        return count_images(root, str(one.path), one.split)
    return len(build_source(one, image_size, roots))


def _rows(folder: Path) -> int:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1
