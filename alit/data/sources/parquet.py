"""Images in Parquet files: a column `image` of coded pictures, as bytes or as `{bytes, path}`.

Rows are read a row group at a time, and the groups read last stay in memory: whoever reads in order decodes each group
once, and any row can be read at any time, also by several threads.
"""

import hashlib
import io
import threading
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alit.data.images import read_image
from alit.data.listing import Listing, find_files
from alit.data.sources import Record
from alit.data.sources.folder import FileSource
from alit.errors import DataError, require
from alit.files import name_to_text, named_file

if TYPE_CHECKING:
    import pyarrow

COLUMN = "image"
SUFFIX = ".parquet"
_IDS = ("id", "image_id", "key", "__key__")
_GROUPS_KEPT = 2


class ParquetSource(FileSource):
    """Coded pictures in Parquet files below `root`; the origin of each is `<file>@<row group>+<row>`."""

    def __init__(self, name: str, root: Path, records: tuple[Record, ...]) -> None:
        super().__init__(name, root, records, ())
        self._lock = threading.Lock()
        self._group = lru_cache(_GROUPS_KEPT)(self._read_group)

    def __reduce__(self) -> Any:
        """Travel to another process without what is in memory."""
        return ParquetSource, (self.name, self.root, self.records)

    def read(self, index: int) -> np.ndarray:
        """Decode one picture into uint8 (h, w, 3)."""
        return read_image(io.BytesIO(self._coded(index)))

    def digest(self, index: int) -> str:
        """Return the sha256 of one coded picture."""
        return hashlib.sha256(self._coded(index)).hexdigest()

    def _coded(self, index: int) -> bytes:
        file, _, place = self.records[index].origin.rpartition("@")
        group, row = map(int, place.split("+"))
        with self._lock:
            coded = self._group(file, group)[row].as_py()
        content = coded.get("bytes") if isinstance(coded, dict) else coded
        if not content:
            raise DataError("the row has no picture")
        return content

    def _read_group(self, file: str, group: int) -> "pyarrow.ChunkedArray":
        import pyarrow
        import pyarrow.parquet

        try:
            with named_file(self.root, file).open("rb") as opened, pyarrow.parquet.ParquetFile(opened) as content:
                return _validated(content.read_row_group(group, columns=[COLUMN]).column(COLUMN))
        except (OSError, UnicodeDecodeError, pyarrow.ArrowException, IndexError) as error:
            raise DataError(f"row group {group} of {file} cannot be read: {error}") from error


def parquet_source(name: str, root: Path, split: str) -> ParquetSource:
    """Find the images in the Parquet files below `root`, in the order of their names, or in one such file.

    An image's id is that of a column `id`, `image_id`, `key` or `__key__`; without one, `<file>/<row>`.

    Raises:
        DataError: there is no such file, one is damaged or has no column `image` of bytes.
    """
    require("pyarrow")
    listing = Listing([root], Counter()) if root.is_file() else find_files(root, (SUFFIX,))
    files = listing.paths
    if not files:
        raise DataError(f"expected Parquet files in {root}, found none")
    base = root.parent if root.is_file() else root
    records = tuple(record for file in files for record in _records(file, base, split))
    if not records:
        raise DataError(f"expected rows in {root}, found none")
    source = ParquetSource(name, base, records)
    source.skipped = listing.describe_skipped()
    return source


def _validated(column: "pyarrow.ChunkedArray") -> "pyarrow.ChunkedArray":
    """Return a column whose offsets lie within it and whose text is UTF-8, as Arrow checks them; raises its error."""
    column.validate(full=True)
    return column


def _records(path: Path, base: Path, split: str) -> list[Record]:
    import pyarrow
    import pyarrow.parquet

    file = name_to_text(path.relative_to(base).as_posix())
    try:
        with path.open("rb") as opened, pyarrow.parquet.ParquetFile(opened) as content:
            _check_column(content.schema_arrow, path)
            column = next((each for each in _IDS if each in content.schema_arrow.names), None)
            sizes = [content.metadata.row_group(group).num_rows for group in range(content.num_row_groups)]
            ids = None if column is None else _validated(content.read(columns=[column]).column(column)).to_pylist()
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {error}") from error
    places = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    return [
        Record(
            image_id=f"{file}/{number:07d}" if ids is None else str(ids[number]),
            origin=f"{file}@{group}+{row}",
            label=None,
            class_name=None,
            split=split,
            complexity=None,
            caption=None,
            objects=None,
        )
        for number, (group, row) in enumerate(places)
    ]


def _check_column(schema: "pyarrow.Schema", path: Path) -> None:
    from pyarrow import types

    if COLUMN not in schema.names:
        raise DataError(
            f"{path} has no column {COLUMN}; expected one of coded pictures, found {', '.join(schema.names)}"
        )
    kind = schema.field(COLUMN).type
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (types.is_binary(kind) or types.is_large_binary(kind)):
        raise DataError(f"{path}: expected column {COLUMN} of bytes or {{bytes, path}}, found {kind}")
