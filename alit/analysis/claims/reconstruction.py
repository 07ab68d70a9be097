"""C1: more tokens reconstruct better."""

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims.ledger import Claim, Measurement, Statement, measured
from alit.analysis.evidence import Evidence
from alit.analysis.frechet_samples import frechet_samples
from alit.analysis.grid import ScoreGrid

C1 = Statement(
    id="C1",
    sentence="Every additional step of tokens lowers the reconstruction loss and the Fréchet distance.",
    source="Tab. 1, Fig. 3",
    paper="FID 22.57 at 32 tokens falls at each step to 8.25 at 256 (Ours-S, ImageNet-100)",
    criterion="the smallest step between neighbouring lengths, as a share of the value at the shortest, is above 0 "
    "for mean L1 on each data set and for the Fréchet distance on the in-distribution one",
)


def more_tokens_reconstruct_better(evidence: Evidence) -> Claim:
    """C1: mean L1 and Fréchet distance fall at every step of length; paired bootstrap over images."""
    how = evidence.how
    parts = [_l1_steps(evidence, name) for name in evidence.grid.datasets]
    features = evidence.features.get(evidence.settings.feature_extractor)
    if features is None or evidence.grid.clean_rows is None:
        absent = f"no features of {evidence.settings.feature_extractor} beside the table"
        return C1.judge(parts, [f"the Fréchet distance cannot be: {absent}"])
    here = evidence.grid.dataset(evidence.dataset)
    samples = frechet_samples(features, here, _every_length(here), how)
    steps = -np.diff(samples.values, axis=1) / samples.values[:, :1]
    words = f"smallest step of the Fréchet distance on {evidence.settings.feature_extractor}, {evidence.dataset}"
    value, low, high = samples.estimate(steps.min(axis=1))
    parts.append(Measurement(f"frechet_step_{evidence.dataset}", words, value, low, high, len(here), bound=0.0))
    return C1.judge(parts)


def _l1_steps(evidence: Evidence, name: str) -> Measurement:
    here = evidence.grid.dataset(name).complete(["l1"])
    means = resampled_means(here.score("l1"), evidence.how.resamples, evidence.how.seed)
    steps = -np.diff(means, axis=1) / means[:, :1]
    return measured(
        f"l1_step_{name}",
        f"smallest step of mean L1, {name}",
        steps.min(axis=1),
        evidence.how.confidence,
        len(here),
        bound=0.0,
    )


def _every_length(grid: ScoreGrid) -> np.ndarray:
    return np.broadcast_to(np.arange(len(grid.lengths)), grid.rows.shape)
