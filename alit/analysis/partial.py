"""Does complexity say more about loss and length than a codec's file size does? Partial rank correlations."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from alit.analysis.bootstrap import interval, resampled
from alit.analysis.complexity import CODECS, codec_label, middle_threshold, scored_datasets, scored_images
from alit.analysis.curves import Resampling, allocate
from alit.analysis.evidence import Evidence
from alit.analysis.grid import ScoreGrid
from alit.analysis.selection import Criterion

NOTHING = "nothing"
COLUMNS = ["dataset", "images", "threshold", "predictor", "given", "value", "low", "high"]


def partial_spearman(first: np.ndarray, second: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return (r,) rank correlations of the rows of two (r, n) arrays with those of `given` (g, r, n) held fixed.

    The correlation of what linear regressions of both ranks on the given ranks leave over (Conover 1999), ties at
    their mean rank. 0 where nothing is left over: a constant row, or one that the given ones determine. No given rows
    leave Spearman's correlation.
    """
    ranks = rankdata(np.concatenate([given, first[None], second[None]]), axis=-1)
    left = ranks - ranks.mean(axis=-1, keepdims=True)
    total = (left**2).sum(axis=-1)
    for number in range(len(given)):  # Gram and Schmidt: take each given row's direction out of all after it
        direction = left[number]
        length = (direction**2).sum(axis=-1)
        kept = length > 1e-9 * total[number]
        for other in range(number + 1, len(left)):
            share = np.divide((left[other] * direction).sum(axis=-1), length, out=np.zeros(len(length)), where=kept)
            left[other] -= share[:, None] * direction
    rest = (left[-2:] ** 2).sum(axis=-1)
    spread = np.sqrt(np.where(rest > 1e-9 * total[-2:], rest, 0).prod(axis=0))
    return np.divide((left[-2] * left[-1]).sum(axis=-1), spread, out=np.zeros_like(spread), where=spread > 0)


def partial_samples(
    complexity: np.ndarray, values: np.ndarray, given: Sequence[np.ndarray], how: Resampling
) -> np.ndarray:
    """Return (1 + r, k) correlations of complexity (n,) with the columns of `values` (n, k), the given held fixed."""

    def correlate(indices: np.ndarray) -> np.ndarray:
        held = np.array([column[indices] for column in given]).reshape(len(given), *indices.shape)
        return np.stack([partial_spearman(complexity[indices], column[indices], held) for column in values.T], axis=-1)

    return resampled(correlate, len(complexity), how.resamples, how.seed)


def codec_bytes(grid: ScoreGrid) -> dict[str, tuple[np.ndarray, ...]]:
    """Return what to hold fixed, in words -> (n,) each: nothing, each codec's bytes where known, and all of them."""
    known = {codec_label(codec): (grid.per_image(codec),) for codec in CODECS}
    known = {label: values for label, values in known.items() if np.isfinite(values[0]).all()}
    both = {" and ".join(known): tuple(values[0] for values in known.values())} if len(known) > 1 else {}
    return {NOTHING: (), **known, **both}


def partial_table(evidence: Evidence) -> pd.DataFrame:
    """Partial Spearman of complexity with loss and selected length, given nothing, JPEG bytes, WebP bytes, and both.

    Loss at the shortest, the middle and the longest length; length under the most telling L1 threshold
    (`middle_threshold`).

    Returns:
        Columns dataset, images, threshold, predictor (words), given (words), value, low, high.
    """
    parts = []
    for name in scored_datasets(evidence.grid):
        here = scored_images(evidence.grid, name)
        threshold = middle_threshold(here, evidence.settings.l1_thresholds)
        chosen = np.unique([0, len(here.lengths) // 2, len(here.lengths) - 1])
        words = [*(f"L1 with {here.lengths[place]} tokens" for place in chosen), "selected length"]
        lengths = here.lengths[allocate(here, Criterion("l1"), [threshold]).positions]
        values = np.concatenate([here.score("l1")[:, chosen], lengths], axis=1)
        for given, held in codec_bytes(here).items():
            samples = partial_samples(here.per_image("complexity"), values, held, evidence.how)
            low, high = interval(samples, evidence.how.confidence)
            rows = {"dataset": name, "images": len(here), "threshold": threshold, "predictor": words, "given": given}
            parts.append(pd.DataFrame(rows | {"value": samples[0], "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
