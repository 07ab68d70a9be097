"""Files of a sweep: one part per chunk while it runs, one table and one array per extractor when it is done.

A part counts as finished when its table exists, which is written last; every file appears under its name only
when it is whole. Assembly streams part by part, so that memory does not grow with the number of images, and
the same parts always give the same bytes.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from alit.data.prepare import ArrayWriter
from alit.errors import DataError

TABLE_FILE = "table.parquet"
CONFIG_FILE = "config.json"


def features_file(extractor: str) -> str:
    """Return the name of an extractor's array (rows, features) float32, row-aligned with the table."""
    return f"features_{extractor}.npy"


class ChunkStore:
    """The finished chunks of one sweep, in its scratch folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def finished(self) -> set[int]:
        """Return the chunks for which `write` has completed, in this process or another."""
        return {int(path.stem) for path in self._folder.glob("*.parquet")}

    def write(self, chunk: int, table: pd.DataFrame, features: Mapping[str, np.ndarray]) -> None:
        """Keep the rows of a chunk and, per extractor, their features (rows, features) float32."""
        for extractor, values in features.items():
            _write_whole(self._features(chunk, extractor), lambda file, values=values: np.save(file, values))
        rows = pyarrow.Table.from_pandas(table, preserve_index=False)
        _write_whole(self._table(chunk), lambda file: pyarrow.parquet.write_table(rows, file))

    def assemble(
        self,
        chunks: int,
        extractors: list[str],
        config: Mapping[str, Any],
        out: Path,
        write_beside: Callable[[Path], object],
    ) -> None:
        """Join chunks 0 ... chunks - 1 into the folder `out` (replaced whole) and remove the parts.

        `write_beside` may write more into the folder that it is given, before that becomes `out`.

        Raises:
            DataError: a chunk that another process has measured is not there.
        """
        for missing in (path for path in map(self._table, range(chunks)) if not path.is_file()):
            raise DataError(f"expected {missing}, found none; all nodes must see one folder of resume state")
        partial = out.with_name(out.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tables = [self._table(chunk) for chunk in range(chunks)]
        with pyarrow.parquet.ParquetWriter(partial / TABLE_FILE, pyarrow.parquet.read_schema(tables[0])) as writer:
            for path in tables:
                writer.write_table(pyarrow.parquet.read_table(path))
        for extractor in extractors:
            with ArrayWriter(partial / features_file(extractor)) as writer:
                for chunk in range(chunks):
                    writer.extend(np.load(self._features(chunk, extractor)).astype(np.float32, copy=False))
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        write_beside(partial)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(partial, out)
        shutil.rmtree(self._folder)

    def _table(self, chunk: int) -> Path:
        return self._folder / f"{chunk:06d}.parquet"

    def _features(self, chunk: int, extractor: str) -> Path:
        return self._folder / f"{chunk:06d}.{extractor}.npy"


def _write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        write(file)
    os.replace(partial, path)
