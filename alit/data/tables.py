"""Tables and arrays that users bring: CSV, `.npy` and `.npz`, checked when they are opened, nothing cast in silence."""

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alit.data.decoding import describe_fault
from alit.errors import DataError
from alit.files import read_text


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file in UTF-8 that has these columns, with or without a byte order mark.

    Raises:
        DataError: it is missing, not UTF-8, not CSV, lacks a column or has a row of another length; the message names
            the row, counted as lines of a text editor are where no field holds a line's end.
    """
    try:
        rows = enumerate(csv.reader(io.StringIO(read_text(path), newline=""), strict=True), start=1)
        lines = [(number, line) for number, line in rows if any(field.strip() for field in line)]
    except (csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read as CSV: {describe_fault(error)}") from error
    header = [name.strip() for name in lines[0][1]] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path} lacks the column {missing[0]}; expected {', '.join(columns)}")
    if len(set(header)) < len(header):
        raise DataError(f"{path}: expected each column once, found {', '.join(header)}")
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise DataError(f"{path}, row {number}: expected {len(header)} fields, found {len(line)}")
    return [dict(zip(header, line, strict=True)) for _, line in lines[1:]]


def read_score(text: str, path: Path) -> float:
    """Read a complexity, a number from 0 to 100.

    Raises:
        DataError: it is something else.
    """
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 100 or "_" in text:
        raise DataError(f"{path}: expected a number from 0 to 100 as complexity, found {text!r}")
    return score


class Member(NamedTuple):
    """What an array has to be: one per image, or as many as there are."""

    kinds: tuple[str, ...]  # of numpy's types, with the bytes of an item where they matter
    dimensions: int
    words: str
    low: float = -math.inf
    high: float = math.inf
    unknown: bool = False  # whether it may hold NaN
    per_image: bool = True


MEMBERS = {
    "images": Member(("u1",), 3, "uint8 (n, h, w, 3) or (n, h, w)"),
    "labels": Member(("i", "u"), 1, "integers (n,)", -(2**31), 2**31),
    "class_names": Member(("U",), 1, "strings (classes,)", per_image=False),
    "complexity": Member(("f", "i", "u"), 1, "numbers (n,) from 0 to 100", 0, 100, unknown=True),
    "captions": Member(("U",), 1, "strings (n,)"),
    "depth": Member(("f",), 3, "floats (n, h, w) from 0 to 65504 meters", 0, 65504),  # kept as float16
    "masks": Member(("u1",), 3, "uint8 (n, h, w)"),
}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the images of a `.npy`, memory-mapped, or all members of a `.npz`; never unpickles.

    Raises:
        DataError: the file is damaged, or a member is not what `MEMBERS` says; others than those are left alone.
    """
    arrays = _load(path)
    images = arrays.get("images", np.empty(0))
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)) or not images.size:
        found = f"{images.dtype} {images.shape}"
        raise DataError(f"{path}: expected images as {MEMBERS['images'].words}, found {found}")
    for name, member in MEMBERS.items():
        if name in arrays and name != "images":
            _check(arrays[name], name, member, images, path)
    names, labels = arrays.get("class_names"), arrays.get("labels")
    if names is not None and labels is not None and labels.max() >= len(names):
        raise DataError(f"{path}: expected labels below the {len(names)} class_names, found {labels.max()}")
    return {name: array for name, array in arrays.items() if name in MEMBERS}


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".npy":
            return {"images": np.lib.format.open_memmap(path, mode="r")}
        # Given a path, numpy leaves the file of a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = {name: members[name] for name in members.files}
            strange = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
            if strange:
                raise ValueError(f"{strange[0]} is no array")
            return arrays
    except Exception as error:  # zipfile, zlib and numpy raise a dozen classes on damaged files
        reason = describe_fault(error)
        raise DataError(f"{path} is not a .npy or .npz file of plain arrays: {reason}") from error


def _check(array: np.ndarray, name: str, member: Member, images: np.ndarray, path: Path) -> None:
    if member.per_image and array.ndim and len(array) != len(images):
        raise DataError(f"{path}: expected {len(images)} {name}, one per image, found {len(array)}")
    if not {array.dtype.kind, array.dtype.str[1:]} & set(member.kinds) or array.ndim != member.dimensions:
        raise DataError(f"{path}: expected {name} as {member.words}, found {array.dtype} {array.shape}")
    if member.dimensions == 3 and array.shape != images.shape[:3]:
        raise DataError(f"{path}: expected {name} of the images' size {images.shape[1:3]}, found {array.shape[1:]}")
    if array.dtype.kind in "fiu" and array.size:
        known = array[~np.isnan(array)] if member.unknown else array
        if known.size and not (known.min() >= member.low and known.max() <= member.high):  # also refuses NaN
            raise DataError(f"{path}: expected {name} as {member.words}, found {known.min()} to {known.max()}")
