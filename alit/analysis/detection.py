"""Are unfamiliar images told apart by what they cost? AUROC of loss and of selected length, against codec bytes.

The paper says in words that quantised lengths could distinguish images from outside the training distribution; it
measures no detector. An AUROC is the chance that an image of the other set costs more than one in-distribution, ties
counting half.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.complexity import CODECS, codec_label, middle_threshold
from alit.analysis.curves import Resampling, allocate
from alit.analysis.evidence import Evidence
from alit.analysis.familiarity import few_lengths, ordered_sets
from alit.analysis.grid import ScoreGrid
from alit.analysis.selection import Criterion

COLUMNS = ["dataset", "images", "familiar", "kind", "predictor", "value", "low", "high"]


class Detector(NamedTuple):
    """A number per image that should be higher the less familiar the image is."""

    kind: str  # "loss", "gap", "length" or "codec"
    words: str
    scores: np.ndarray  # (n,)


def auroc_samples(familiar: np.ndarray, others: np.ndarray, how: Resampling) -> np.ndarray:
    """Return (1 + r,) areas under the ROC curve, `others` (m,) being the positive class against `familiar` (n,).

    Both sets are resampled independently. A resample moves the area by the mean placement of its images (DeLong et
    al. 1988), kept within [0, 1].
    """
    above = _placements(others, familiar)
    below = 1 - _placements(familiar, others)
    area = above.mean()
    moved = [
        resampled_means(values[:, None], how.resamples, seed)[:, 0]
        for values, seed in ((above, how.seed), (below, how.seed + 1))
    ]
    return np.clip(moved[0] + moved[1] - area, 0, 1)


def detectors(grid: ScoreGrid, threshold: float) -> tuple[Detector, ...]:
    """Return what images may be told apart by: loss at each length, its fall, the selected length, and codec bytes."""
    losses, few = grid.score("l1"), few_lengths(grid)
    selected = grid.lengths[allocate(grid, Criterion("l1"), [threshold]).positions[:, 0]]
    known = [codec for codec in CODECS if np.isfinite(grid.per_image(codec)).all()]
    return (
        *(Detector("loss", f"L1 with {length} tokens", losses[:, k]) for k, length in enumerate(grid.lengths)),
        *(Detector("gap", f"L1 gap, {grid.lengths[k]} to {grid.longest}", losses[:, k] - losses[:, -1]) for k in few),
        Detector("length", f"length under L1 < {threshold:g}", selected),
        *(Detector("codec", codec_label(codec), grid.per_image(codec)) for codec in known),
    )


def detection_table(evidence: Evidence) -> pd.DataFrame:
    """Return how well each detector tells each other set from the in-distribution one.

    The L1 threshold of the selected length is the most telling one on in-distribution images (`middle_threshold`): it
    is chosen without the other sets.

    Returns:
        Columns dataset, images, familiar (in-distribution images), kind, predictor (words), value, low, high.
    """
    here = evidence.grid.dataset(evidence.dataset)
    threshold = middle_threshold(here, evidence.settings.l1_thresholds)
    inside = {detector.words: detector for detector in detectors(here, threshold)}
    order = ordered_sets(evidence)
    others = [*order[1:], *(name for name in evidence.grid.datasets if name not in order)]
    rows = []
    for name in others:
        there = evidence.grid.dataset(name)
        for detector in detectors(there, threshold):
            if detector.words in inside:
                samples = auroc_samples(inside[detector.words].scores, detector.scores, evidence.how)
                low, high = interval(samples, evidence.how.confidence)
                named = (name, len(there), len(here), detector.kind, detector.words)
                rows.append((*named, samples[0], float(low), float(high)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _placements(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the share of `among` (m,) that lies below each of `scores` (n,), equal ones counting half."""
    ordered = np.sort(among)
    below, not_above = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return (below + not_above) / (2 * len(ordered))
