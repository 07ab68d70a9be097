"""The manifest: one row per image of a set, the small file that DVC tracks in place of the images."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from alit.data.sources import Record
from alit.errors import DataError

COLUMNS = (*Record._fields, "sha256")
_TYPES = {
    "image_id": "string",
    "origin": "string",
    "label": "Int64",
    "class_name": "string",
    "split": "string",
    "complexity": "Float64",
    "caption": "string",
    "objects": "Int64",
    "sha256": "string",
}


def build_manifest(records: Sequence[Record], digests: Sequence[str]) -> pd.DataFrame:
    """Return one row per record: image_id, origin, label (Int64), class_name, split, complexity, caption,
    objects (Int64), sha256; unknown values are missing.
    """
    table = pd.DataFrame.from_records(list(records), columns=list(Record._fields))
    return table.assign(sha256=list(digests)).astype(_TYPES)


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write a manifest as CSV, with the same bytes everywhere."""
    manifest.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest with the column types of `build_manifest`.

    Raises:
        DataError: the file is missing or is not a manifest.
    """
    if not path.is_file():
        raise DataError(f"expected a manifest at {path}, found none; run the data stage")
    try:
        # Only an empty field is missing: a class may well be called "None" or "nan".
        table = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""])
        if tuple(table.columns) != COLUMNS:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
        return table.astype(_TYPES)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a manifest: {error}; run the data stage again") from error
