"""Reading tidy tables: the few questions that every figure asks, with plain types for answers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd


def rows(table: pd.DataFrame, keep: Any) -> pd.DataFrame:
    """Return the rows where `keep`, a boolean column, is true."""
    return pd.DataFrame(table.loc[keep])  # pandas leaves open what a comparison or a row selection gives


def groups(table: pd.DataFrame, column: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield (value, rows) for each value of a column, in order of first appearance."""
    for value in table[column].unique():
        yield value, rows(table, table[column] == value)


def distinct(table: pd.DataFrame, column: str) -> int:
    """Return how many different values a column has."""
    return len(table[column].unique())


def word(table: pd.DataFrame, column: str) -> str:
    """Return a column's text in the first row, for columns that say the same in every row."""
    return str(table[column].to_numpy()[0])


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as (n,) float64."""
    return table[column].to_numpy(dtype=float)


def most(table: pd.DataFrame, column: str) -> int:
    """Return the largest whole number of a column."""
    return int(table[column].to_numpy().max())


def evenly(values: np.ndarray, count: int) -> list[float]:
    """Choose at most `count` of the different values, evenly over those there are, both ends included."""
    different = np.unique(values)
    return [float(different[i]) for i in np.unique(np.linspace(0, len(different) - 1, count).round().astype(int))]


def ends(table: pd.DataFrame, column: str, by: str) -> tuple[float, float]:
    """Return a column's values where `by` is smallest and largest."""
    values = numbers(table.sort_values(by), column)
    return float(values[0]), float(values[-1])


def reach(line: pd.DataFrame, value: str = "value", low: str = "low", high: str = "high") -> np.ndarray:
    """Return (2, n) distances from the value down to the low and up to the high end of its interval."""
    numbers = line[[value, low, high]].to_numpy(dtype=float)
    return np.abs(numbers[:, 1:] - numbers[:, :1]).T
