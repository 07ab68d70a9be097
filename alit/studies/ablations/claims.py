"""C12, C13 and C14: what a change of the training brings, and what fixed lengths reach with the same means."""

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims import Claim, Measurement, Statement, assesses, measured
from alit.analysis.grid import metric_info
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.ablations.tables import FRECHET, REFERENCES, comparisons, image_count, sample_reduction

# The paper calls 8.25 at 256 adaptive tokens "comparable" to the 7.04 of VQGAN's 256 (Tab. 1): 17 % above it.
COMPARABLE = 0.17
IMPROVEMENTS = {
    "width": "wider",
    "depth": "deeper",
    "steps": "longer training",
    "data": "more data",
    "stage 2": "the second stage",
}

C12 = Statement(
    id="C12",
    sentence="Continuous latents reconstruct better than quantized ones.",
    source="sec. 5, Tab. 4, Fig. 10",
    paper="FID 5.66 (VAE) and 7.14 (VQGAN) at 256 continuous latents, 9.95 and 8.25 at as many quantized ones",
    criterion="for each base, mean L1 and the Fréchet distance, averaged over lengths, are lower with continuous "
    "latents by a share above 0",
)
C13 = Statement(
    id="C13",
    sentence="A wider or deeper network, longer training, more data and the second stage each improve reconstruction.",
    source="Tab. 3, Fig. 10",
    paper="FID at 32 tokens falls from 71.53 (width 512) to 53.47 (1024), 43.97 (16 layers) and 22.57 (stage 2)",
    criterion="each change, alone, lowers the Fréchet distance, averaged over lengths, by a share above 0",
)
C14 = Statement(
    id="C14",
    sentence="The adaptive tokenizer is competitive with tokenizers of one fixed length and with the 2D base.",
    source="Tab. 1, Fig. 3",
    paper="slightly lower L1 than TiTok and VQGAN; FID 8.25 at 256 tokens against VQGAN's 7.04, called comparable",
    criterion=f"mean L1 at each fixed length compared, trained with the same data and steps, and at the longest length "
    f"against the base, lies above it by less than {COMPARABLE:.0%}: the share by which the paper's FID does",
)
NOT_TRAINED = "no pair of trainings of this profile differs in this respect (configs/ablations.yaml)"


@assesses(C12)
def continuous_latents_reconstruct_better(data: StudyData) -> Claim:
    """C12: L1 and Fréchet distance of continuous against quantized latents, trained alike."""
    parts = [part for column in ("l1", FRECHET) for part in _reductions(data, "continuous", column, bound=0.0)]
    if not parts:
        raise NotMeasurable(NOT_TRAINED)
    return C12.judge(parts)


@assesses(C13)
def more_of_everything_improves(data: StudyData) -> Claim:
    """C13: the Fréchet distance after each change alone; L1 for comparison."""
    parts, missing = [], []
    for factor, words in IMPROVEMENTS.items():
        found = _reductions(data, factor, FRECHET, bound=0.0)
        parts += [*found, *_reductions(data, factor, "l1", bound=None)]
        missing += [] if found else [f"{words} was not trained for"]
    if not parts:
        raise NotMeasurable(NOT_TRAINED)
    return C13.judge(parts, missing)


def adaptive_lengths_are_competitive(data: StudyData) -> Claim:
    """C14: L1 against fixed-length tokenizers of the same training, and against the base tokenizer."""
    parts = _reductions(data, "fixed length", "l1", bound=-COMPARABLE)
    parts += _reductions(data, "fixed length", FRECHET, bound=None)
    missing = [] if parts else ["no tokenizer of one length was trained on the same data"]
    try:
        parts.append(_against_the_base(data))
    except NotMeasurable as reason:
        missing.append(str(reason))
    return C14.judge(parts, missing)


def _reductions(data: StudyData, factor: str, column: str, bound: float | None) -> list[Measurement]:
    """Measure every comparison of a factor: the share by which the first variant's error is lower."""
    label = metric_info(f"frechet_{data.settings.feature_extractor}" if column == FRECHET else column).label
    parts = []
    for compared, variant, than in comparisons(data):
        samples = sample_reduction(data, variant, than, column) if compared == factor else None
        if samples is None:
            continue
        words = f"share by which {label} is lower for {variant} than for {than}"
        name = f"{column}_{variant}_than_{than}"
        parts.append(measured(name, words, samples, data.bootstrap.confidence, image_count(data), bound))
    return parts


def _against_the_base(data: StudyData) -> Measurement:
    """Measure the profile's own tokenizer at its longest length against the base tokenizer by itself.

    Raises:
        NotMeasurable: either was not swept.
    """
    table = data.tables.get(REFERENCES)
    if table is None or not {"own", "base"} <= set(table["tokenizer"].unique()):
        raise NotMeasurable("the base was not measured")
    own, base = (table.loc[table["tokenizer"] == name].sort_values(["image_id", "length"]) for name in ("own", "base"))
    longest = own.loc[own["length"] == own["length"].max()]
    both = np.stack([longest["l1"].to_numpy(dtype=np.float64), base["l1"].to_numpy(dtype=np.float64)], axis=1)
    means = resampled_means(both, data.bootstrap.resamples, data.bootstrap.seed)
    words = "share by which L1 at the longest length is lower than that of the base tokenizer"
    samples = 1 - means[:, 0] / means[:, 1]
    return measured("l1_own_than_base", words, samples, data.bootstrap.confidence, len(both), -COMPARABLE)


CLAIMS = {
    "C12": continuous_latents_reconstruct_better,
    "C13": more_of_everything_improves,
    "C14": adaptive_lengths_are_competitive,
}
