"""What encoding and decoding one image costs, by length (ICLR version, Tab. 8).

The tables (`StudyData.tables`) are those of the measurement: `cost_times`, one row per tokenizer, operation, length
and image, each image a round of all operations; `cost_counts`, one row per tokenizer, operation and length.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable

TIMES, COUNTS = "cost_times", "cost_counts"
OWN = "own"  # the profile's tokenizer, among its baselines
ENCODE, ENCODE_UNTIL, DECODE = "encode", "encode until it suffices", "decode"
SAME_OPERATIONS = 0.1  # share by which the operations of one pass may grow with the length
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


def one_pass_networks(counts: pd.DataFrame) -> dict[int, str]:
    """Return, for each length, the network that reaches it in one pass: the one with the fewest operations.

    A network of one pass, in contrast to a recurrent one, encodes to all of its lengths with the same operations. It
    also can encode until a criterion holds, which a base tokenizer or a codec cannot. Operations are counted and not
    timed, so that no chance chooses.
    """
    adaptive = set(counts.loc[counts["operation"] == ENCODE_UNTIL, "tokenizer"]) - {OWN}
    encoding = counts.loc[(counts["operation"] == ENCODE) & counts["tokenizer"].isin(list(adaptive))]
    operations = encoding.groupby("tokenizer")["gflop"].agg(["min", "max"])
    flat = operations.index[operations["max"] <= (1 + SAME_OPERATIONS) * operations["min"]]
    cheapest = encoding.loc[encoding["tokenizer"].isin(flat)].sort_values("gflop", kind="stable")
    cheapest = cheapest.drop_duplicates("length").sort_values("length")
    return dict(zip(cheapest["length"].astype(int).tolist(), cheapest["tokenizer"].astype(str), strict=True))


class OnePassSamples(NamedTuple):
    """Times to encode, as multiples of times to encode in one pass, over resampled rounds."""

    lengths: tuple[int, ...]  # l, at which both were timed
    networks: tuple[str, ...]  # (l) of one pass
    ratios: np.ndarray  # (1 + r, l) until a criterion holds, over one pass to the same length
    known: np.ndarray  # (1 + r, l) to a length that is known beforehand, over one pass to the same length
    shortest: np.ndarray  # (1 + r,) until at the shortest length, over one pass to the longest of `lengths`


def sample_one_pass(data: StudyData) -> OnePassSamples:
    """Resample rounds of encoding until it suffices and of encoding in one pass.

    Raises:
        NotMeasurable: no network of one pass was timed at one of the tokenizer's lengths.
    """
    times = data.tables[TIMES]
    lengths, until = round_times(times, OWN, ENCODE_UNTIL)
    networks = one_pass_networks(data.tables[COUNTS]) if COUNTS in data.tables else {}
    shared = [length for length in lengths.tolist() if length in networks]
    if not shared:
        raise NotMeasurable("no network of one pass was timed at one of the lengths")
    own = sample_medians(until, data.bootstrap)
    once = {}
    for name in dict.fromkeys(networks[length] for length in shared):
        found, milliseconds = round_times(times, name, ENCODE)
        medians = sample_medians(milliseconds, data.bootstrap).T
        once |= {(name, length): column for length, column in zip(found.tolist(), medians, strict=True)}
    passes = np.stack([once[networks[length], length] for length in shared], axis=1)
    places, names = np.isin(lengths, shared), tuple(networks[length] for length in shared)
    known = sample_medians(round_times(times, OWN, ENCODE)[1], data.bootstrap)[:, places] / passes
    return OnePassSamples(tuple(shared), names, own[:, places] / passes, known, own[:, 0] / passes[:, -1])


def until_over_one_pass(data: StudyData) -> pd.DataFrame:
    """Return what encoding until it suffices takes, as a multiple of one pass to as many tokens.

    Returns:
        Columns length, network, known (the multiple that encoding takes where the length is known beforehand), value,
        low, high; no rows where no network of one pass was timed.
    """
    try:
        samples = sample_one_pass(data)
    except NotMeasurable:
        return pd.DataFrame(columns=["length", "network", "known", "value", "low", "high"])
    labels = {"length": samples.lengths, "network": samples.networks, "known": samples.known[0]}
    return interval_table(samples.ratios, data.bootstrap.confidence, **labels)


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
