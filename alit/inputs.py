"""The pictures that a command's arguments lead to: files, folders, globs and lists of paths."""

import codecs
import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from alit.data.listing import find_pictures
from alit.errors import DataError


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
    if os.path.isdir(argument):
        listing = find_pictures(Path(argument))
        if listing.skipped:
            print(f"{argument}: {listing.describe_skipped()}", file=sys.stderr)
        return listing.paths
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [Path(argument)] if _is_named(argument) else []
    return _matches(argument)


def _is_named(argument: str) -> bool:
    """Whether something has this name, also where the system refuses to look: reading it then says why."""
    try:
        os.lstat(argument)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _matches(pattern: str) -> list[Path]:
    """Expand a glob: whatever is no folder, so that reading it says what is wrong with it."""
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    parts = Path(pattern).parts
    if "**" in parts:
        found = [path for path in found if not _is_in_a_circle(path, parts.index("**"))]
    elif skipped := sum(path.is_dir() for path in found):
        print(f"{pattern}: skipped {skipped} folders", file=sys.stderr)
    return [path for path in found if not path.is_dir()]


def _is_in_a_circle(path: Path, depth: int) -> bool:
    """Whether links lead through one folder twice, so many parts down: `**` would find a file again and again."""
    folders = [os.stat(folder) for folder in path.parents if len(folder.parts) >= depth]
    return len({(status.st_dev, status.st_ino) for status in folders}) < len(folders)


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
