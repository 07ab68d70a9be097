"""Token selection, capacity and evaluation: the three questions of the paper's section 4 to the sweep table.

A token-selection criterion (TSC) picks for each image the smallest length whose score satisfies it; a task of
interest (TOI) is the mean of another column over the picked rows; the capacity is the share of tokens picked.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.grid import KEY, SweepGrid, to_grid
from alit.analysis.metrics import metric_info
from alit.errors import DataError


@dataclass(frozen=True)
class SelectionCriterion:
    """A score and the side of the threshold that satisfies it, strictly: `l1` below 0.07, `ssim` above 0.9.

    "Correct among the top X" is `Criterion("class_rank_<model>")` with threshold X, since the rank of the best
    guess is 0.
    """

    column: str
    direction: Literal["below", "above"] = "below"


def criterion_on(column: str) -> SelectionCriterion:
    """Return the criterion that asks for a good enough score: below a threshold where lower is better, else above."""
    return SelectionCriterion(column, "below" if metric_info(column).better == "lower" else "above")


def own_column(task: str) -> str:
    """Return the score by which tokens are chosen for a task itself (TSC = TOI): the rank for an accuracy."""
    return f"class_rank_{task.removeprefix('top1_')}" if task.startswith("top1_") else task


@dataclass(frozen=True)
class Selection:
    """The length picked for each of n images.

    Attributes:
        images: the n images' dataset, split and image_id.
        positions: (n,) index into the grid's lengths; -1 for an excluded image.
        lengths: (n,) picked token count; 0 for an excluded image.
        satisfied: (n,) whether some length satisfies the criterion; where none does, the longest is picked.
        included: (n,) false where the criterion's score is unknown (an image without a label has no class
            rank); such an image counts neither in the capacity nor in an evaluation.
    """

    criterion: SelectionCriterion
    threshold: float
    images: pd.DataFrame
    positions: np.ndarray
    lengths: np.ndarray
    satisfied: np.ndarray
    included: np.ndarray

    @property
    def excluded(self) -> int:
        """Number of images without a score to select by."""
        return int((~self.included).sum())

    def to_frame(self) -> pd.DataFrame:
        """Return one row per included image: dataset, split, image_id, length, satisfied."""
        picked = self.images.assign(length=self.lengths, satisfied=self.satisfied)
        return pd.DataFrame(picked.loc[self.included]).reset_index(drop=True)


class Evaluation(NamedTuple):
    """The mean of a column over a selection, and over how many images; `excluded` had no score or no selection."""

    value: float
    images: int
    excluded: int


def select(table: pd.DataFrame | SweepGrid, criterion: SelectionCriterion, threshold: float) -> Selection:
    """Pick for each image the smallest length that satisfies the criterion, else the longest.

    Scores need not be monotone in the length: the *first* length that satisfies is picked, whatever follows.
    The untouched image (length 0) is never picked. Fold the table once (`fold`) when selecting more than once.

    Raises:
        DataError: the criterion's column is missing, or null for every image.
    """
    grid = as_grid(table)
    scores = grid.score(criterion.column)
    included = np.asarray(np.isfinite(scores).all(axis=1))
    if not included.any():
        raise DataError(f"expected scores in column {criterion.column!r} to select by, found only nulls")
    first = first_satisfying(scores, criterion.direction, np.array([threshold]))[:, 0]
    satisfied = (first < len(grid.lengths)) & included
    positions = np.where(included, np.minimum(first, len(grid.lengths) - 1), -1)
    return Selection(
        criterion=criterion,
        threshold=threshold,
        images=pd.DataFrame(grid.images[list(KEY)]),
        positions=positions,
        lengths=np.where(included, grid.lengths[positions], 0),
        satisfied=satisfied,
        included=included,
    )


def capacity(selection: Selection, base_tokens: int) -> float:
    """Return the picked tokens as a share of `base_tokens` for each included image (paper, section 4).

    `base_tokens` is what the share is of: the base tokenizer's image tokens as in the paper's figures, or the
    longest length for "of the maximum tokens"; in the paper both are 256.
    """
    return float(selection.lengths[selection.included].mean() / base_tokens)


def evaluate(table: pd.DataFrame | SweepGrid, selection: Selection, column: str) -> Evaluation:
    """Return the mean of `column` over the picked rows (a task of interest, TOI).

    `top1_<model>` is the accuracy of a model. Images excluded from the selection, or whose picked row has no
    value in `column`, are left out and counted.
    """
    scores = as_grid(table).score(column)
    if len(scores) != len(selection.positions):
        raise DataError(f"expected a selection of {len(scores)} images, found one of {len(selection.positions)}")
    values = scores[np.arange(len(scores)), selection.positions]
    known = selection.included & ~np.isnan(values)
    if not known.any():
        raise DataError(f"expected values in column {column!r} for the selected images, found none")
    return Evaluation(float(values[known].mean()), int(known.sum()), int((~known).sum()))


def first_satisfying(scores: np.ndarray, direction: Literal["below", "above"], thresholds: np.ndarray) -> np.ndarray:
    """Return (n, t) positions of the first length that satisfies each threshold; l where none does.

    Args:
        scores: (n, l), lengths ascending.
        thresholds: (t,)
    """
    sign = 1.0 if direction == "below" else -1.0
    # The first length below a threshold is the first at which the running minimum is: counting replaces searching.
    best = np.minimum.accumulate(sign * scores, axis=1)
    positions = np.empty((len(scores), len(thresholds)), dtype=np.int64)
    for column, threshold in enumerate(thresholds):
        positions[:, column] = (~(best < sign * threshold)).sum(axis=1)
    return positions


def as_grid(table: pd.DataFrame | SweepGrid) -> SweepGrid:
    """Return the folded form of a table; a grid passes through."""
    return table if isinstance(table, SweepGrid) else to_grid(table)
