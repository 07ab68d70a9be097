"""Recognize what a folder or a file holds, where no profile says it."""

from pathlib import Path

from alit.data.sources import ImageSource
from alit.data.sources.folder import folder_source
from alit.data.sources.parquet import parquet_source
from alit.errors import DataError


def open_source(argument: str, split: str | None = None) -> ImageSource:
    """Find the images of a data set.

    Args:
        argument: a folder of Parquet files or of pictures, recognized in this order; or a Parquet file.
        split: of the data set, a folder in that of the data set; by default all of it.

    Raises:
        DataError: there is no such data set, or it has no image.
    """
    path = Path(argument).absolute()
    if path.is_dir():
        return _in_folder(path, split)
    if path.is_file() and path.suffix == ".parquet":
        return parquet_source(path.stem, path, split or "")
    raise DataError(f"expected a folder of pictures or of Parquet files, or a .parquet file, found none at {argument}")


def _in_folder(path: Path, split: str | None) -> ImageSource:
    part = path / split if split is not None and (path / split).is_dir() else path
    if next(part.rglob("*.parquet"), None) is not None:
        return parquet_source(path.name, part, split or "")
    return folder_source(path.name, path, split or "")
