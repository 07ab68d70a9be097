"""The files of a folder that are of some kind, and some of many: one listing for command line, data sets and others."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from alit.errors import DataError

# Of the formats that are read (`alit.data.decoding.FORMATS`).
IMAGE_SUFFIXES = frozenset(
    (
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg"),
        *(".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)


class Listing(NamedTuple):
    """Files in the order of their paths below the folder, and how many other files there are of each kind."""

    paths: list[Path]
    skipped: Counter[str]

    def describe_skipped(self) -> str:
        """Return what was skipped in words, nothing where nothing was."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.skipped.items()))
        return f"skipped {self.skipped.total()} files: {kinds}" if kinds else ""


def find_pictures(folder: Path) -> Listing:
    """List every picture file below a folder, however deep; see `find_files`."""
    return find_files(folder, IMAGE_SUFFIXES)


def find_files(folder: Path, suffixes: Collection[str], *, deep: bool = True) -> Listing:
    """List every file below a folder whose name ends in one of `suffixes`, in lower case; only in it where not `deep`.

    Links are followed, to folders too, but not in a circle. What begins with a dot is no part of the folder. A link
    that leads nowhere is listed: reading it says so.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[str] = []
    skipped: Counter[str] = Counter()
    if folder.is_dir():
        _Walk(frozenset(suffixes), deep, found, skipped).enter(str(folder), ())
    return Listing(sorted(map(Path, found), key=lambda path: path.relative_to(folder).as_posix()), skipped)


def list_images(folder: Path) -> list[Path]:
    """Return the paths of `find_pictures`."""
    return find_pictures(folder).paths


class _Walk(NamedTuple):
    suffixes: frozenset[str]
    deep: bool
    found: list[str]
    skipped: Counter[str]

    def enter(self, folder: str, above: tuple[tuple[int, int], ...]) -> None:
        """List a folder; `above` are device and number of those that lead to it."""
        try:
            status = os.stat(folder)
            with os.scandir(folder) as opened:
                entries = [entry for entry in opened if not entry.name.startswith(".")]
        except OSError as error:
            reason = f"cannot read the folder {folder}: {error.strerror}; grant access, or leave it out"
            raise DataError(reason) from error
        place = (status.st_dev, status.st_ino)
        if place in above:
            self.skipped["links in a circle"] += 1
            return
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.is_symlink() and not os.path.exists(entry.path):
                if not suffix:
                    raise DataError(f"expected a folder at {entry.path}, found a link that leads nowhere; mend it")
                if suffix in self.suffixes:
                    self.found.append(entry.path)
            elif entry.is_dir():
                if self.deep:
                    self.enter(entry.path, (*above, place))
            elif suffix not in self.suffixes:
                self.skipped[f"with the suffix {suffix}" if suffix else "without a suffix"] += 1
            elif entry.is_file():
                self.found.append(entry.path)
            else:
                self.skipped["devices, pipes or sockets"] += 1


def chosen_indices(length: int, limit: int | None) -> list[int]:
    """Return at most `limit` indices, spread evenly over `length`, so that every class gets its share."""
    count = length if limit is None else min(limit, length)
    return [index * length // count for index in range(count)]
