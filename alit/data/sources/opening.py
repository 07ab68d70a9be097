"""Recognize what a folder, a file or a name on the hub holds, where no profile says it."""

import re
from pathlib import Path

from alit.data.listing import find_files
from alit.data.sources import ImageSource
from alit.data.sources.folder import folder_source
from alit.data.sources.huggingface import huggingface_source
from alit.data.sources.parquet import SUFFIX, parquet_source
from alit.data.sources.webdataset import list_shards, webdataset_source
from alit.errors import DataError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAVED = ("dataset_info.json", "dataset_dict.json")  # of the `datasets` library's save_to_disk


def open_source(argument: str, split: str | None = None) -> ImageSource:
    """Find the images of a data set.

    Args:
        argument: a folder of what `save_to_disk` wrote, of `.tar` shards, of Parquet files or of pictures, recognized
            in this order; a Parquet file; or the id of a data set on the hub of Hugging Face.
        split: of the data set; by default all of a folder, and `train` where a split has to be named.

    Raises:
        DataError: there is no such data set, or it has no image.
    """
    path = Path(argument).absolute()
    if path.is_dir():
        return _in_folder(path, split)
    if path.is_file() and path.suffix.lower() == SUFFIX:
        return parquet_source(path.stem, path, split or "")
    if path.exists() or not _HUB_ID.fullmatch(argument):
        raise DataError(
            f"expected a folder of pictures, shards or Parquet files, a .parquet file, or an id on the hub of Hugging "
            f"Face, found none at {argument}"
        )
    return huggingface_source(path.name, argument, split or "train", (Path(),))


def _in_folder(path: Path, split: str | None) -> ImageSource:
    if any((path / name).is_file() for name in _SAVED):
        return huggingface_source(path.name, str(path), split or "train", (Path(),))
    part = path / split if split is not None and (path / split).is_dir() else path
    if list_shards(part):
        return webdataset_source(path.name, path, split or "")
    if find_files(part, (SUFFIX,)).paths:
        return parquet_source(path.name, part, split or "")
    return folder_source(path.name, path, split or "")
