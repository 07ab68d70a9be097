"""C1: more tokens reconstruct better."""

from itertools import pairwise

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims import Claim, Measurement, Statement, measured
from alit.analysis.frechet import sample_frechet, sample_kernel
from alit.analysis.grid import SweepGrid, every_length
from alit.analysis.metrics import metric_info
from alit.analysis.study_data import StudyData

C1 = Statement(
    id="C1",
    sentence="Every additional step of tokens lowers the reconstruction loss and the Fréchet distance.",
    source="Tab. 1, Fig. 3",
    paper="FID 22.57 at 32 tokens falls at each step to 8.25 at 256 (Ours-S, ImageNet-100)",
    criterion="the fall from each length to the next, as a share of the value at the shortest, is above 0 for mean L1 "
    "on each data set and for the Fréchet distance on the in-distribution one",
)


def more_tokens_reconstruct_better(data: StudyData) -> Claim:
    """C1: mean L1 and Fréchet distance fall at every step of length; paired bootstrap over images.

    The kernel distance, which no number of images biases, is reported for comparison.
    """
    parts = [part for name in data.grid.datasets for part in _l1_steps(data, name)]
    extractor = data.settings.feature_extractor
    here = data.grid.dataset(data.dataset)
    if extractor not in data.features or here.clean_rows is None:
        return C1.judge(parts, [f"the Fréchet distance needs features of {extractor} beside the table"])
    for prefix, sample, bound in (("frechet", sample_frechet, 0.0), ("kernel", sample_kernel, None)):
        samples = sample(data.features[extractor], here, every_length(here), data.bootstrap)
        label = metric_info(f"{prefix}_{extractor}").label
        for step, fall in _falls(here, samples):
            words = f"fall of the {label} from {step} tokens, {data.dataset}"
            name = f"{prefix}_{data.dataset}_{step}".replace(" to ", "_")
            parts.append(measured(name, words, fall, data.bootstrap.confidence, len(here), bound))
    return C1.judge(parts)


def _l1_steps(data: StudyData, dataset: str) -> list[Measurement]:
    here = data.grid.dataset(dataset).complete(["l1"])
    means = resampled_means(here.score("l1"), data.bootstrap.resamples, data.bootstrap.seed)
    parts = []
    for step, fall in _falls(here, means):
        name = f"l1_{dataset}_{step}".replace(" to ", "_")
        words = f"fall of mean L1 from {step} tokens, {dataset}"
        parts.append(measured(name, words, fall, data.bootstrap.confidence, len(here), bound=0.0))
    return parts


def _falls(grid: SweepGrid, samples: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return ("4 to 8", (1 + r,) fall as a share of the value at the shortest) for each step of (1 + r, l) values."""
    falls = -np.diff(samples, axis=1) / samples[:, :1]
    steps = [f"{fewer} to {more}" for fewer, more in pairwise(grid.lengths)]
    return list(zip(steps, falls.T, strict=True))


CLAIMS = {"C1": more_tokens_reconstruct_better}
