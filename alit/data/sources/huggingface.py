"""Images in a data set of the Hugging Face `datasets` library: on disk, or from the hub.

Rows are read from the Arrow files that the library maps into memory, as they are coded: nothing is decoded to be
listed, and any row can be read at any time. A data set that lies otherwise (Parquet, an image folder, the hub) is
written to the library's cache once, below `$HF_HOME`.
"""

import io
from pathlib import Path
from typing import Any, BinaryIO

from alit.data.sources import Record
from alit.data.sources.folder import RecordedSource
from alit.errors import DataError, require

_CAPTIONS = ("caption", "text")
_LABELS = ("label", "labels", "class")


class Rows:
    """The coded pictures of a data set, by their origin, `row:<n>`."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows = rows  # datasets.Dataset, with pictures as bytes or paths
        self.column = column

    def __call__(self, origin: str) -> Path | BinaryIO:
        """Return a picture's file.

        Raises:
            DataError: the row has none, or there are fewer rows.
        """
        number = int(origin.removeprefix("row:"))
        if number >= len(self.rows):
            raise DataError(f"the data set has {len(self.rows)} rows")
        coded = self.rows[number][self.column]
        if coded is None:
            raise DataError("the row has no picture")
        return Path(coded["path"]) if coded["bytes"] is None else io.BytesIO(coded["bytes"])


def huggingface_source(name: str, path: str, split: str, roots: tuple[Path, ...]) -> RecordedSource:
    """Return the images of a split, with labels of a `ClassLabel` column and captions of a column `caption` or `text`.

    Args:
        name: of the set.
        path: below one of `roots`, a folder that `save_to_disk` wrote or `load_dataset` reads; else an id on the hub.
        split: a split of the data set.
        roots: folders that may hold data.

    Raises:
        DataError: there is no such data set, split or column of pictures.
    """
    opened = open_rows(path, split, roots)
    labels, class_names = _labels(opened.rows)
    caption = next((column for column in _CAPTIONS if _holds_text(opened.rows, column)), None)
    captions = [None] * len(labels) if caption is None else _column(opened.rows, caption)
    records = tuple(
        Record(
            image_id=f"{number:07d}",
            origin=f"row:{number}",
            label=label,
            class_name=None if label is None else class_names[label],
            split=split,
            complexity=None,
            caption=text,
            objects=None,
        )
        for number, (label, text) in enumerate(zip(labels, captions, strict=True))
    )
    return RecordedSource(name, records, class_names, opened)


def open_rows(path: str, split: str, roots: tuple[Path, ...]) -> Rows:
    """Open the pictures of a split; see `huggingface_source`."""
    require("datasets")
    import datasets

    folder = next((root / path for root in roots if (root / path).exists()), None)
    try:
        rows = _open(datasets, path if folder is None else str(folder), split)
    except Exception as error:  # the library and the hub's client raise a dozen classes, for a proxy's settings too
        searched = " or ".join(str(root / path) for root in roots)
        reason = " ".join(str(error).split())
        raise DataError(
            f"expected a data set with split {split} at {searched}, or {path} on the hub of Hugging Face, found none "
            f"({reason}); set path to a folder of save_to_disk, a folder of Parquet files, or an id on the hub"
        ) from error
    pictures = [column for column, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    column = "image" if "image" in pictures else next(iter(pictures), None)
    if column is None or (len(pictures) > 1 and column != "image"):
        found = ", ".join(pictures) or ", ".join(rows.features)
        raise DataError(f"{path}: expected one column of pictures, or one named image, found {found}")
    return Rows(rows.cast_column(column, datasets.Image(decode=False)), column)


def _open(datasets: Any, path: str, split: str) -> Any:
    """Open a split by the library's two ways."""
    if not any((Path(path) / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        return datasets.load_dataset(path, split=split)
    opened = datasets.load_from_disk(path)
    if not isinstance(opened, datasets.DatasetDict):
        return opened
    if split not in opened:
        raise ValueError(f"its splits are {', '.join(opened)}")
    return opened[split]


def _labels(rows: Any) -> tuple[list[int | None], tuple[str, ...]]:
    """Return the label of each row, None where it is unknown, and the names of the classes."""
    from datasets import ClassLabel

    columns = [column for column, kind in rows.features.items() if isinstance(kind, ClassLabel)]
    column = next((name for name in _LABELS if name in columns), next(iter(columns), None))
    if column is None:
        return [None] * len(rows), ()
    known = [None if label is None or label < 0 else label for label in _column(rows, column)]
    return known, tuple(rows.features[column].names)


def _holds_text(rows: Any, column: str) -> bool:
    return getattr(rows.features.get(column), "dtype", None) in ("string", "large_string")


def _column(rows: Any, column: str) -> list[Any]:
    """Return one column without touching the pictures."""
    return list(rows.select_columns([column])[column])
