"""Controlled complexity: the same scenes at every level of one factor, all else unchanged.

Over images that merely differ in complexity, a correlation may be the work of anything that varies with it. Here loss
and length move with one factor of the same scene, so that a rise is that factor's doing. The levels of a scene are
paired, and intervals are over scenes.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from einops import rearrange

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.complexity import middle_threshold
from alit.analysis.curves import Resampling, allocate
from alit.analysis.evidence import Evidence
from alit.analysis.grid import ScoreGrid
from alit.analysis.selection import Criterion
from alit.errors import DataError

RISES = ["dataset", "images", "kind", "setting", "value", "low", "high"]


class Levels(NamedTuple):
    """What s scenes cost at f levels of one factor, asked at k settings."""

    factor: str
    kind: Literal["loss", "length"]
    settings: np.ndarray  # (k,) lengths at which the loss is taken, or L1 thresholds of the selected length
    levels: np.ndarray  # (f,) ascending, 0 to 100
    values: np.ndarray  # (f, s, k)

    def sample_rise(self, how: Resampling) -> np.ndarray:
        """Return (1 + r, k) mean changes of the same scenes from the lowest to the highest level."""
        return resampled_means(self.values[-1] - self.values[0], how.resamples, how.seed)


def measured_levels(evidence: Evidence) -> Iterator[Levels]:
    """Yield, per factor, L1 at every length, then the length under one L1 threshold; nothing without such scenes.

    The threshold is the one that tells controlled scenes apart best (`middle_threshold`, which looks at no level).
    """
    if evidence.controlled is None:
        return
    grid = evidence.controlled
    threshold = middle_threshold(grid, evidence.settings.l1_thresholds)
    for factor in grid.datasets:
        here = grid.dataset(factor)
        levels, places = scenes_by_level(here)
        selected = here.lengths[allocate(here, Criterion("l1"), [threshold]).positions]
        yield Levels(factor, "loss", here.lengths, levels, here.score("l1")[places])
        yield Levels(factor, "length", np.array([threshold]), levels, selected[places].astype(np.float64))


def scenes_by_level(grid: ScoreGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels (f,) of one factor, ascending, and the numbers (f, s) of the same s scenes at each.

    Scenes come in one order at every level: the order in which the data set was made.

    Raises:
        DataError: the levels have different numbers of scenes.
    """
    complexity = grid.per_image("complexity")
    levels, counts = np.unique(complexity, return_counts=True)
    if len(set(counts)) != 1:
        raise DataError(
            f"expected as many scenes of {grid.datasets[0]} at each level, found {', '.join(map(str, counts))}; "
            "run the stages data and sweep again"
        )
    return levels, rearrange(np.argsort(complexity, kind="stable"), "(f s) -> f s", f=len(levels))


def level_table(evidence: Evidence) -> pd.DataFrame:
    """Return mean L1 and mean selected length at each level.

    Returns:
        Columns dataset (the factor), images (scenes), kind, setting, complexity (the level), value, low, high.
    """
    parts = []
    for found in measured_levels(evidence):
        scenes = found.values.shape[1]
        flat = rearrange(found.values, "f s k -> s (f k)")
        samples = resampled_means(flat, evidence.how.resamples, evidence.how.seed)
        low, high = interval(samples, evidence.how.confidence)
        place, setting = np.meshgrid(found.levels, found.settings, indexing="ij")
        named = {"dataset": found.factor, "images": scenes, "kind": found.kind, "setting": setting.ravel()}
        values = {"complexity": place.ravel(), "value": samples[0], "low": low, "high": high}
        parts.append(pd.DataFrame(named | values))
    columns = [*RISES[:4], "complexity", *RISES[4:]]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def rise_table(evidence: Evidence) -> pd.DataFrame:
    """Return the paired changes from the lowest to the highest level; columns as `level_table` but complexity."""
    parts = []
    for found in measured_levels(evidence):
        samples = found.sample_rise(evidence.how)
        low, high = interval(samples, evidence.how.confidence)
        named = {"dataset": found.factor, "images": found.values.shape[1], "kind": found.kind}
        parts.append(pd.DataFrame(named | {"setting": found.settings, "value": samples[0], "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=RISES)


def tabulate(rises: pd.DataFrame) -> pd.DataFrame:
    """Return a rise table with a row per setting, a column per factor, and intervals in the cells."""
    words = {"loss": "L1 with {:g} tokens", "length": "length under L1 < {:g}"}
    table = pd.DataFrame(
        {
            "rise of": [words[kind].format(value) for kind, value in zip(rises["kind"], rises["setting"], strict=True)],
            "factor": rises["dataset"],
            "cell": [
                f"{value:+.3g} [{low:.3g}, {high:.3g}]"
                for value, low, high in rises[["value", "low", "high"]].itertuples(index=False)
            ],
        }
    )
    wide = table.pivot(index="rise of", columns="factor", values="cell")
    return wide.loc[table["rise of"].unique(), table["factor"].unique()]
