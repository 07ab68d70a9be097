"""What encoding and decoding one image costs, by length (ICLR version, Tab. 8).

The tables (`StudyData.tables`) are those of the measurement: `cost_times`, one row per tokenizer, operation, length
and image, each image a round of all operations; `cost_counts`, one row per tokenizer, operation and length.
"""

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData

TIMES, COUNTS = "cost_times", "cost_counts"
OWN = "own"  # the profile's tokenizer, among its baselines
ENCODE, ENCODE_UNTIL, DECODE = "encode", "encode until it suffices", "decode"
LABELS = ("tokenizer", "operation", "length", "images")
COUNTED = ("iteration", "gflop", "peak_mib", "parameters", "device", "threads")


def round_times(times: pd.DataFrame, tokenizer: str, operation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths (l,) and milliseconds (rounds, l) of one operation of one tokenizer; empty where it has none."""
    rows = times.loc[(times["tokenizer"] == tokenizer) & (times["operation"] == operation)]
    rounds = rows.pivot_table(index="image", columns="length", values="seconds")
    return rounds.columns.to_numpy(dtype=np.int64), 1e3 * rounds.to_numpy(dtype=np.float64)


def sample_medians(milliseconds: np.ndarray, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r, l) medians over rounds of times (rounds, l); rounds are drawn whole: lengths are paired."""
    return resampled(
        lambda rounds: np.median(milliseconds[rounds], axis=1), len(milliseconds), bootstrap.resamples, bootstrap.seed
    )


def cost_table(data: StudyData) -> pd.DataFrame:
    """Return the cost of every operation.

    Returns:
        Columns tokenizer, operation, iteration, length, images (rounds), value (median milliseconds), low, high
        (interval of the median), fast, slow (the middle half of the rounds), gflop, peak_mib, parameters, device,
        threads.
    """
    if TIMES not in data.tables:
        return pd.DataFrame(columns=[*LABELS, "value", "low", "high", "fast", "slow", *COUNTED])
    counts, times = data.tables[COUNTS], data.tables[TIMES]
    parts = []
    for tokenizer, operation in dict.fromkeys(zip(counts["tokenizer"], counts["operation"], strict=True)):
        lengths, milliseconds = round_times(times, tokenizer, operation)
        medians = interval_table(
            sample_medians(milliseconds, data.bootstrap),
            data.bootstrap.confidence,
            tokenizer=tokenizer,
            operation=operation,
            length=lengths,
            images=len(milliseconds),
        )
        fast, slow = np.percentile(milliseconds, [25, 75], axis=0)
        parts.append(medians.assign(fast=fast, slow=slow))
    return pd.concat(parts, ignore_index=True).merge(counts, on=["tokenizer", "operation", "length"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table for readers: one row per tokenizer, operation and length, units in the names of the columns."""
    names = {
        "tokenizer": "tokenizer",
        "operation": "operation",
        "length": "tokens",
        "value": "ms (median)",
        "fast": "ms (25 %)",
        "slow": "ms (75 %)",
        "gflop": "GFLOP",
        "peak_mib": "MiB alive",
    }
    return table.loc[:, list(names)].rename(columns=names).set_index(["tokenizer", "operation", "tokens"])
