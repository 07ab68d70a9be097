"""Write a `.npy` file row by row, when the number of rows is known only at the end."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np


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
