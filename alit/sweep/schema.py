"""The columns of the sweep table: declared here once, checked on write and on read (docs/sweep-table.md).

One row per image and length, sorted by dataset, image (in the order of its manifest) and length; every image
of a dataset has the same lengths. Length 0 is the untouched image.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pyarrow.parquet
from pandera.errors import SchemaError

from alit.errors import DataError

CODECS = ("jpeg", "webp")  # whose file sizes an image has, as `<codec>_bytes`
TEXT = ("dataset", "split", "image_id")
ENTROPY_BITS = ("entropy_bits", "entropy_bits_by_position")  # of sweeps that know training images
TASK_COLUMNS = {
    r"^perceptual_\w+$": pa.Column("float32", pa.Check.ge(0), nullable=True, regex=True, required=False),
    r"^class_rank_\w+$": pa.Column("Int32", pa.Check.ge(0), nullable=True, regex=True, required=False),
    r"^class_rank_in_set_\w+$": pa.Column("Int32", pa.Check.ge(0), nullable=True, regex=True, required=False),
    r"^depth_error_\w+$": pa.Column("float32", pa.Check.ge(0), nullable=True, regex=True, required=False),
    r"^depth_rank_agreement_\w+$": pa.Column(
        "float32", pa.Check.in_range(-1, 1), nullable=True, regex=True, required=False
    ),
    r"^depth_true_error_\w+$": pa.Column("float32", pa.Check.ge(0), nullable=True, regex=True, required=False),
    r"^caption_score_\w+$": pa.Column("float32", pa.Check.in_range(0, 1), nullable=True, regex=True, required=False),
    r"^caption_true_score_\w+$": pa.Column(
        "float32", pa.Check.in_range(0, 1), nullable=True, regex=True, required=False
    ),
    r"^training_distance_\w+$": pa.Column("float32", pa.Check.in_range(0, 2.0001), regex=True, required=False),
}
COLUMNS = {
    **{name: pa.Column(str) for name in TEXT},
    "label": pa.Column("Int32", pa.Check.ge(0), nullable=True),
    "complexity": pa.Column("float32", nullable=True),
    "rms_contrast": pa.Column("float32", pa.Check.in_range(0, 0.5001)),
    **{f"{codec}_bytes": pa.Column("float32", pa.Check.gt(0)) for codec in CODECS},
    "length": pa.Column("int32", pa.Check.ge(0)),
    "tokens": pa.Column("float32", pa.Check.ge(0), nullable=True, required=False),  # older tables have none
    "bits": pa.Column("float32", pa.Check.gt(0), nullable=True),
    "entropy_bits": pa.Column("float32", pa.Check.ge(0), nullable=True, required=False),
    "entropy_bits_by_position": pa.Column("float32", pa.Check.ge(0), nullable=True, required=False),
    "l1": pa.Column("float32", pa.Check.in_range(0, 1)),
    "l2": pa.Column("float32", pa.Check.in_range(0, 1)),
    "psnr": pa.Column("float32", pa.Check.ge(0)),
    "ssim": pa.Column("float32", pa.Check.in_range(-1.001, 1.001)),
    "predicted_l1": pa.Column("float32", pa.Check.in_range(0, 1), nullable=True, required=False),
}


def _some_rows(table: pd.DataFrame) -> bool:
    return len(table) > 0


def _bits_but_for_originals(table: pd.DataFrame) -> bool:
    return bool((table["bits"].isna() == (table["length"] == 0)).all())


def _no_entropy_bits_of_originals(table: pd.DataFrame) -> bool:
    untouched = table.loc[table["length"] == 0, [name for name in ENTROPY_BITS if name in table]]
    return bool(untouched.isna().all(axis=None))


def _lengths_rise_within_each_image(table: pd.DataFrame) -> bool:
    return bool((~_same_image_as_before(table) | (table["length"].diff() > 0)).all())


def _originals_start_each_image(table: pd.DataFrame) -> bool:
    return bool(((table["length"] == 0) == ~_same_image_as_before(table)).all())


def _sorted_by_dataset(table: pd.DataFrame) -> bool:
    return bool(table["dataset"].is_monotonic_increasing)


def _one_row_per_length(table: pd.DataFrame) -> bool:
    """Each image has its dataset's lengths, so that no part of the table is missing or there twice."""
    sizes = table.groupby(["dataset", "image_id"], sort=False).size()
    lengths = table.groupby("dataset", sort=False)["length"].nunique()
    return bool((sizes == lengths.reindex(sizes.index.get_level_values(0)).to_numpy()).all())


def _no_rank_among_fewer_classes_is_larger(table: pd.DataFrame) -> bool:
    ranks = {name: name.replace("in_set_", "", 1) for name in map(str, table) if name.startswith("class_rank_in_set_")}
    both = [(table[own], table[among_all]) for own, among_all in ranks.items() if among_all in table]
    return all(bool((own <= among_all).fillna(True).all()) for own, among_all in both)


def _same_image_as_before(table: pd.DataFrame) -> np.ndarray:
    same = np.ones(len(table), dtype=bool)
    same[:1] = False
    for key in ("dataset", "image_id"):
        values = table[key].to_numpy(dtype=object)
        same[1:] &= values[1:] == values[:-1]
    return same


def _check(function: Any, error: str) -> pa.Check:
    return pa.Check(function, error=error)


SCHEMA = pa.DataFrameSchema(
    {**COLUMNS, **TASK_COLUMNS},
    checks=[
        _check(_some_rows, "at least one row"),
        _check(_bits_but_for_originals, "bits in every row but those of length 0"),
        _check(_no_entropy_bits_of_originals, "no entropy-coded bits in rows of length 0"),
        _check(_originals_start_each_image, "each image's rows to start with length 0"),
        _check(_lengths_rise_within_each_image, "lengths to rise within each image"),
        _check(_sorted_by_dataset, "rows sorted by dataset"),
        _check(_one_row_per_length, "every image once at every length"),
        _check(_no_rank_among_fewer_classes_is_larger, "class_rank_in_set_<model> at most class_rank_<model>"),
    ],
)


def validate_table(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return `table` if it is a sweep table.

    Raises:
        DataError: one line that names `source` and the first fault.
    """
    _check_names(table, source)
    try:
        return SCHEMA.validate(table)
    except SchemaError as error:
        raise DataError(f"{source} is not a sweep table: {_fault(error)}; run the sweep again") from error


def _check_names(table: pd.DataFrame, source: str) -> None:
    names = [str(name) for name in table.columns]
    missing = [name for name, column in COLUMNS.items() if column.required and name not in names]
    unknown = [name for name in names if column_of(name) is None]
    if missing or unknown or len(set(names)) < len(names):
        found = f"found {', '.join(unknown)}" if unknown else "found none" if missing else "found one twice"
        expected = f"the column {missing[0]}" if missing else "the columns of docs/sweep-table.md"
        raise DataError(f"{source} is not a sweep table: expected {expected}, {found}; run the sweep again")


def column_of(name: str) -> pa.Column | None:
    """Return the declaration of a column, or None for a name that the table has no place for."""
    declared = (column for pattern, column in TASK_COLUMNS.items() if re.match(pattern, name))
    return COLUMNS.get(name) or next(declared, None)


def _fault(error: SchemaError) -> str:
    if isinstance(error.check, pa.Check) and error.schema is SCHEMA:
        return f"expected {error.check.error}"
    if isinstance(error.failure_cases, pd.DataFrame) and len(error.failure_cases) and error.schema is not SCHEMA:
        cases = error.failure_cases["failure_case"].unique()[:3]
        expected = getattr(error.check, "error", None) or error.check
        return f"column {error.schema.name}: expected {expected}, found {', '.join(map(str, cases))}"
    return str(error).splitlines()[0]


def as_table(columns: dict[str, Any]) -> pd.DataFrame:
    """Give columns (name -> values) the types of the schema; NaN in a whole-number column becomes null."""
    return pd.DataFrame({name: _typed(name, values) for name, values in columns.items()})


def _typed(name: str, values: Any) -> pd.Series:
    column = column_of(name)
    if column is None:
        raise DataError(f"expected a column of the sweep table, found {name}; declare it in alit/sweep/schema.py")
    series = pd.Series(values)
    if str(column.dtype) == "Int32":
        return pd.Series(pd.array(np.asarray(series, dtype="float64"), dtype="Float64")).astype("Int32")
    return series.astype(str if name in TEXT else str(column.dtype))


def read_table(path: Path) -> pd.DataFrame:
    """Read and check a sweep table.

    Raises:
        DataError: the file is missing, not parquet, or not a sweep table.
    """
    if not path.is_file():
        raise DataError(f"expected a sweep table at {path}, found none; run the sweep (dvc repro sweep)")
    try:
        table = pyarrow.parquet.read_table(path).to_pandas()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file ({str(error).splitlines()[0]}); run the sweep again") from error
    return validate_table(table, str(path))
