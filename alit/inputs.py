"""The pictures that a command's arguments lead to: files, folders, globs and lists of paths, and their views."""

import codecs
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from alit.data.images import batch_of, read_view
from alit.data.listing import find_pictures
from alit.errors import DataError
from alit.files import name_to_text


class Pictures:
    """Batches of the center views of picture files, in order; remembers which files could be read."""

    def __init__(self, paths: Sequence[Path], size: int, batch_size: int, *, strict: bool = False) -> None:
        self.names: list[str] = []  # of the pictures so far
        self.unreadable: list[str] = []  # "path: reason"
        self._paths, self._size, self._batch_size, self._strict = paths, size, batch_size, strict

    def __iter__(self) -> Iterator[Tensor]:
        """Yield images (b, 3, size, size) in [0, 1], with b up to the batch size.

        Raises:
            DataError: a picture cannot be read, where `strict`.
        """
        views: list[np.ndarray] = []
        for path in tqdm(self._paths, unit="image", disable=None):
            try:
                views.append(read_view(path, self._size))
                self.names.append(name_to_text(path.name))
            except DataError as error:
                if self._strict:
                    raise
                self.unreadable.append(str(error))
            if len(views) == self._batch_size:
                yield batch_of(views, self._size)
                views = []
        if views:
            yield batch_of(views, self._size)


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Expand files, folders, globs and - into paths, in the order given; folders are searched to any depth.

    Raises:
        DataError: one of them leads to no picture.
    """
    paths: list[Path] = []
    for argument in arguments:
        found = _expand(argument)
        if not found:
            raise DataError(f"expected pictures at {argument}, found none; give files, folders, globs or -")
        paths += found
    return paths


def _expand(argument: str) -> list[Path]:
    if argument == "-":
        return read_path_list()
    if Path(argument).is_dir():
        listing = find_pictures(Path(argument))
        if listing.skipped:
            print(f"{argument}: {listing.describe_skipped()}", file=sys.stderr)
        return listing.paths
    if Path(argument).exists():
        return [Path(argument)]
    return [Path(name) for name in sorted(glob.glob(argument, recursive=True)) if Path(name).is_file()]


def read_path_list() -> list[Path]:
    """Read paths from standard input, of any bytes: one a line, or between NULs where there are any.

    Raises:
        DataError: it is closed, or a list of wide characters.
    """
    if sys.stdin is None:
        raise DataError("expected paths on standard input, found it closed")
    stream = getattr(sys.stdin, "buffer", None)
    content = sys.stdin.read().encode("utf-8", "surrogateescape") if stream is None else stream.read()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("expected paths on standard input in UTF-8, found UTF-16; write the list in UTF-8")
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\0" if b"\0" in content else b"\n")
    names = [os.fsdecode(line) for line in lines if line.strip()]
    return [Path(name if os.path.lexists(name) else name.rstrip("\r")) for name in names]
