"""Token sets as Parquet: one row per image, in the parts of a folder; what `alit tokenize` writes::

    | column | type | meaning |
    |---|---|---|
    | id | string | the image's: its path below the folder, its key in a shard, or its row |
    | tokens | list of int32, or of float32 (z,) | ids of a codebook of m codes; or continuous codes of z numbers each |
    | length | int32 | number of tokens |
    | satisfied | bool | whether the image met its criterion; true for a fixed length or a budget |
    | bits | int64 | size of the tokens, without the file's overhead |

The schema's metadata hold, under the key `alit`, a `PartCard` as JSON. Other readers of Parquet need not know it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from alit.errors import TokenFileError, require
from alit.settings import Settings

if TYPE_CHECKING:
    import pyarrow

_CARD = b"alit"
_COLUMNS = ("id", "tokens", "length", "satisfied", "bits")


class PartCard(Settings):
    """What the rows of a part have in common."""

    format: Literal[1] = 1
    model: str  # fingerprint of the tokenizer that made the tokens and that alone can decode them
    codebook_size: PositiveInt | None  # m; None when continuous
    code_size: PositiveInt | None  # z; None for ids
    part: NonNegativeInt  # its place among the parts
    parts: PositiveInt  # how many there are when all are written
    rejected: tuple[tuple[str, str], ...]  # id and reason of each image of the part that could not be read


class TokenRows(NamedTuple):
    """Tokens of b images."""

    ids: Sequence[str]
    lengths: np.ndarray  # (b,) int64
    values: np.ndarray  # (sum of lengths,) int64 ids, or (sum of lengths, z) float32 codes
    satisfied: np.ndarray  # (b,) bool

    def select(self, starts: np.ndarray, lengths: np.ndarray) -> "TokenRows":
        """Return the same images with the run of tokens at `starts` (b,) and of `lengths` (b,) each."""
        places = np.concatenate([np.arange(0), *map(np.arange, starts, starts + lengths)])
        return TokenRows(self.ids, lengths, self.values[places], self.satisfied)


def part_file(folder: Path, part: int) -> Path:
    """Return the file of a part."""
    return folder / f"part-{part:06d}.parquet"


def write_part(
    folder: Path,
    card: PartCard,
    rows: TokenRows,
    bits_per_token: int,
    extra: Mapping[str, "pyarrow.Array"] | None = None,
) -> None:
    """Write one part, under its name only when it is whole; `extra` are further columns.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    require("pyarrow")
    import pyarrow
    import pyarrow.parquet

    columns = {
        "id": pyarrow.array(rows.ids, pyarrow.string()),
        "tokens": _token_lists(rows, card.code_size),
        "length": pyarrow.array(rows.lengths, pyarrow.int32()),
        "satisfied": pyarrow.array(rows.satisfied, pyarrow.bool_()),
        "bits": pyarrow.array(rows.lengths * bits_per_token, pyarrow.int64()),
        **(extra or {}),
    }
    table = pyarrow.table(columns, metadata={_CARD: card.model_dump_json().encode()})
    path = part_file(folder, card.part)
    partial = path.with_name(f"_{path.name}.partial")
    with partial.open("wb") as file:  # a path may be any bytes, for pyarrow only UTF-8
        pyarrow.parquet.write_table(table, file, compression="zstd")
    os.replace(partial, path)


def _token_lists(rows: TokenRows, code_size: int | None) -> "pyarrow.Array":
    import pyarrow

    offsets = pyarrow.array(np.concatenate([[0], np.cumsum(rows.lengths)]), pyarrow.int32())
    if code_size is None:
        return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(rows.values, pyarrow.int32()))
    numbers = pyarrow.array(rows.values.reshape(-1), pyarrow.float32())
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.FixedSizeListArray.from_arrays(numbers, code_size))


def _token_type(code_size: int | None) -> "pyarrow.DataType":
    import pyarrow

    return pyarrow.list_(pyarrow.int32() if code_size is None else pyarrow.list_(pyarrow.float32(), code_size))


def is_finished(folder: Path, part: int) -> bool:
    """Return whether `write_part` has completed for a part."""
    return part_file(folder, part).is_file()


def part_files(path: Path) -> list[Path]:
    """Return the file itself, or all parts of a folder in order.

    Raises:
        TokenFileError: there are none, or some of them are missing.
    """
    if not path.is_dir():
        if not path.is_file():
            raise TokenFileError(f"expected a token file at {path}, found none")
        return [path]
    found = sorted(path.glob("part-*.parquet"))
    if not found:
        raise TokenFileError(f"expected a file or a folder of tokens at {path}, found no part-*.parquet in it")
    expected = [part_file(path, part) for part in range(read_card(found[0]).parts)]
    if found != expected:
        raise TokenFileError(
            f"expected {len(expected)} parts in {path}, found {len(found)}; run alit tokenize again to write the others"
        )
    return found


def read_card(path: Path) -> PartCard:
    """Read what the rows of a part have in common.

    Raises:
        TokenFileError: the file is not one of these, or is damaged.
    """
    require("pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            metadata = pyarrow.parquet.read_schema(file).metadata or {}
        return PartCard.model_validate_json(metadata[_CARD], strict=True)
    except KeyError as error:
        raise _fault(path, "its schema has no metadata of this kind") from error
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException, ValidationError) as error:
        raise _fault(path, " ".join(str(error).split())) from error


def read_rows(path: Path) -> tuple[PartCard, TokenRows]:
    """Read a part.

    Raises:
        TokenFileError: the file is not one of these, or is damaged.
    """
    card = read_card(path)
    columns = read_columns(path, _COLUMNS)
    tokens = columns["tokens"]
    if tokens.type != _token_type(card.code_size):
        raise _fault(path, f"its tokens are {tokens.type}, not {_token_type(card.code_size)}")
    numbers = tokens.flatten() if card.code_size is None else tokens.flatten().flatten()
    rows = TokenRows(
        columns["id"].to_pylist(),
        columns["length"].to_numpy(zero_copy_only=False).astype(np.int64),
        numbers.to_numpy(zero_copy_only=False).astype(np.int64 if card.code_size is None else np.float32),
        columns["satisfied"].to_numpy(zero_copy_only=False).astype(bool),
    )
    if card.code_size is not None:
        rows = rows._replace(values=rows.values.reshape(-1, card.code_size))
    listed = tokens.value_lengths().to_numpy(zero_copy_only=False)
    if not np.array_equal(listed, rows.lengths):
        raise _fault(path, "its lengths do not fit its tokens")
    if card.codebook_size is not None and not ((rows.values >= 0) & (rows.values < card.codebook_size)).all():
        raise _fault(path, "an id lies outside its codebook")
    return card, rows


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read some columns of a part, each as one Arrow array without missing values.

    Raises:
        TokenFileError: the file is damaged, lacks a column or misses a value.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            table = pyarrow.parquet.read_table(file, columns=list(names))
        found = {name: table.column(name).combine_chunks() for name in names}
        for column in found.values():
            column.validate(full=True)  # text may be no UTF-8, which its readers would find
    except (OSError, KeyError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise _fault(path, " ".join(str(error).split())) from error
    if any(column.null_count for column in found.values()):
        raise _fault(path, "a value is missing")
    return found


def _fault(path: Path, fault: str) -> TokenFileError:
    return TokenFileError(f"{path} cannot be read: {fault}; expected a part that alit tokenize wrote")
