"""The log of a run: one row of scalars at a time, in step order whatever interrupted it."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType


class TrainingLog:
    """A CSV file with the columns step, images, seconds and those of the stage.

    Opening it drops what was written after `step`, the step that training resumes from, and a torn last line.
    `images` counts image visits, `seconds` the wall time spent training in all runs together.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self.columns = ("step", "images", "seconds", *columns)
        kept = _rows_until(path, self.columns, step)
        partial = path.with_name(path.name + ".partial")
        with partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *kept])
        os.replace(partial, path)
        self._file = path.open("a", newline="")

    def write(self, step: int, images: int, seconds: float, values: Sequence[float | None]) -> None:
        """Append one row; an empty field says that the quantity did not occur since the last row."""
        numbers = ["" if value is None else f"{value:.6g}" for value in values]
        csv.writer(self._file, lineterminator="\n").writerow([step, images, f"{seconds:.1f}", *numbers])
        self._file.flush()

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _rows_until(path: Path, columns: Sequence[str], step: int) -> list[list[str]]:
    """Return the complete rows of an existing log up to `step`."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row for row in rows if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= step]
