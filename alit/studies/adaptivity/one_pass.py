"""Lengths that are predicted in one pass against lengths that are searched for the same promise, from the sweep table.

The table has the L1 that the tokenizer's length predictor expects of each image at each length, and the sweep's record
the margins that its calibration images gave (`alit.tokenizer.promise`). No margin is fitted here, and no image of the
table was used for one.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import Estimate, estimate, resampled_means
from alit.analysis.grid import SweepGrid
from alit.analysis.study_data import StudyData
from alit.tokenizer.promise import outcome

COLUMN = "predicted_l1"
ONE_PASS_COLUMNS = ["dataset", "promise", "confidence", "images", "able", "kept", "kept_low", "kept_high"]
ONE_PASS_COLUMNS += ["satisfied", "kept_of_satisfied", "tokens", "searched", "regret", "regret_low", "regret_high"]
ONE_PASS_COLUMNS += ["shorter", "longer"]


def one_pass_table(data: StudyData) -> pd.DataFrame:
    """Return what predicted lengths give for each promise, on the in-distribution set and on the less familiar ones.

    Returns:
        Columns dataset, promise (an L1), confidence (share of the images that can keep it that is to keep it), images,
        able (share of the images with an L1 below the promise at the longest length), kept (share of those that keep
        it at the predicted length), kept_low, kept_high (its interval), satisfied (share of the images whose tokens
        are marked so), kept_of_satisfied (share of those that keep it), tokens (mean), searched (mean tokens of the
        smallest length whose L1 is below the promise, else the longest), regret (tokens / searched - 1), regret_low,
        regret_high, shorter and longer (share of the images that get fewer and more tokens than searched). Shares of
        no images are nan. No rows where the sweep's tokenizer predicts no loss.
    """
    record = (data.record.get("tokenizer") or {}).get("length_predictor")
    if record is None or not data.measured(COLUMN):
        return pd.DataFrame(columns=ONE_PASS_COLUMNS)
    margins = {round(threshold, 6): margin for threshold, margin in record["margins"]}
    names = dict.fromkeys((data.dataset, *data.settings.familiarity))
    rows = [
        {"dataset": name, "promise": promise, "confidence": record["confidence"], **found}
        for name in names
        if name in data.grid.datasets
        for promise, found in _promises(data, data.grid.dataset(name), margins)
    ]
    return pd.DataFrame(rows, columns=ONE_PASS_COLUMNS)


def _promises(
    data: StudyData, grid: SweepGrid, margins: Mapping[float, float]
) -> Iterator[tuple[float, dict[str, float]]]:
    for promise in data.settings.l1_thresholds:
        if round(promise, 6) in margins:
            yield promise, _one_promise(data, grid, promise, margins[round(promise, 6)])


def _one_promise(data: StudyData, grid: SweepGrid, promise: float, margin: float) -> dict[str, float]:
    lengths = grid.lengths
    able, keeps, satisfied, chosen, searched = outcome(grid.score(COLUMN), grid.score("l1"), promise, margin)
    tokens = np.stack([lengths[chosen], lengths[searched]], axis=1).astype(np.float64)
    means = resampled_means(tokens, data.bootstrap.resamples, data.bootstrap.seed)
    kept, regret = _share(data, keeps[able]), estimate(means[:, 0] / means[:, 1] - 1, data.bootstrap.confidence)
    return {
        "images": len(grid),
        "able": float(able.mean()),
        "kept": kept.value,
        "kept_low": kept.low,
        "kept_high": kept.high,
        "satisfied": float(satisfied.mean()),
        "kept_of_satisfied": float(keeps[satisfied].mean()) if satisfied.any() else np.nan,
        "tokens": float(means[0, 0]),
        "searched": float(means[0, 1]),
        "regret": regret.value,
        "regret_low": regret.low,
        "regret_high": regret.high,
        "shorter": float((chosen < searched).mean()),
        "longer": float((chosen > searched).mean()),
    }


def _share(data: StudyData, outcomes: np.ndarray) -> Estimate:
    """Return the share of true outcomes (n,) with its interval over images; nan of none."""
    if not len(outcomes):
        return Estimate(np.nan, np.nan, np.nan)
    means = resampled_means(outcomes[:, None].astype(np.float64), data.bootstrap.resamples, data.bootstrap.seed)
    return estimate(means[:, 0], data.bootstrap.confidence)
