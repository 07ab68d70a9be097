"""C2 and C3: complexity, loss and length."""

import numpy as np

from alit.analysis.claims import Claim, Measurement, Statement, measured
from alit.analysis.grid import CODEC_LABELS
from alit.analysis.selection import SelectionCriterion, allocate_by_threshold, middle_threshold
from alit.analysis.study_data import StudyData
from alit.studies.complexity.tables import (
    measured_levels,
    partial_correlation_samples,
    scored_datasets,
    scored_images,
    spearman_samples,
)

C2 = Statement(
    id="C2",
    sentence="At a fixed number of tokens the reconstruction loss rises with the image's complexity.",
    source="sec. 4, Fig. 4, 11, 12",
    paper="L1 rises with human complexity on the art, scenes and objects of SAVOIAS",
    criterion="Spearman of complexity and L1 is above 0 at every length on each data set with complexities",
)
C3 = Statement(
    id="C3",
    sentence="Complex images need more tokens for the same loss.",
    source="sec. 4, Fig. 4, 11, 12",
    paper="the length under a loss threshold rises with human complexity on art, scenes and objects of SAVOIAS",
    criterion="Spearman of complexity and the length selected by L1 < threshold is above 0 on each data set with "
    "complexities, at the profile's threshold whose mean length is nearest the middle of the lengths",
)
NO_COMPLEXITY = "no data set in the table has enough images with a complexity"


def loss_rises_with_complexity(data: StudyData) -> Claim:
    """C2: rank correlation of complexity and L1 at each length, per data set; for comparison, controlled scenes."""
    parts = []
    for name in scored_datasets(data.grid):
        here = scored_images(data.grid, name)
        samples = spearman_samples(here.per_image("complexity"), here.score("l1"), data.bootstrap)
        for length, values in zip(here.lengths, samples.T, strict=True):
            words = f"Spearman of complexity and L1 with {length} tokens, {name}"
            key = f"loss_{name}_{length}"
            parts.append(measured(key, words, values, data.bootstrap.confidence, len(here), bound=0.0))
    return C2.judge([*parts, *_rises(data, "loss")], [] if parts else [NO_COMPLEXITY])


def complex_images_need_more_tokens(data: StudyData) -> Claim:
    """C3: rank correlation of complexity and selected length; for comparison, codec bytes and controlled scenes."""
    parts: list[Measurement] = []
    for name in scored_datasets(data.grid):
        parts += _length_against_complexity(data, name)
    return C3.judge([*parts, *_rises(data, "length")], [] if parts else [NO_COMPLEXITY])


def _length_against_complexity(data: StudyData, name: str) -> list[Measurement]:
    here = scored_images(data.grid, name)
    threshold = middle_threshold(here, data.settings.l1_thresholds)
    allocation = allocate_by_threshold(here, SelectionCriterion("l1"), [threshold])
    codecs = here.codecs()
    predictors = [here.lengths[allocation.positions], *(here.per_image(codec)[:, None] for codec in codecs)]
    samples = spearman_samples(here.per_image("complexity"), np.concatenate(predictors, axis=1), data.bootstrap)
    confidence, images = data.bootstrap.confidence, len(here)
    words = f"Spearman of complexity and length under L1 < {threshold:g}, {name}"
    parts = [measured(f"length_{name}", words, samples[:, 0], confidence, images, bound=0.0)]
    for number, codec in enumerate(codecs, start=1):
        label = CODEC_LABELS[codec]
        bytes_words = f"Spearman of complexity and {label}, {name}"
        gain_words = f"Spearman with length minus Spearman with {label}, {name}"
        gain = samples[:, 0] - samples[:, number]
        parts.append(measured(f"{codec}_{name}", bytes_words, samples[:, number], confidence, images))
        parts.append(measured(f"gain_over_{codec}_{name}", gain_words, gain, confidence, images))
    if codecs:
        held = [here.per_image(codec) for codec in codecs]
        left = partial_correlation_samples(here.per_image("complexity"), predictors[0], held, data.bootstrap)[:, 0]
        left_words = f"{words}, given {' and '.join(CODEC_LABELS[codec] for codec in codecs)}"
        parts.append(measured(f"length_given_codecs_{name}", left_words, left, confidence, images))
    return parts


def _rises(data: StudyData, kind: str) -> list[Measurement]:
    """Measure what each factor of controlled scenes raises, at the shortest length or the chosen threshold."""
    parts = []
    for found in measured_levels(data):
        if found.kind == kind:
            setting, scenes = found.settings[0], found.values.shape[1]
            what = f"L1 with {setting} tokens" if kind == "loss" else f"length under L1 < {setting:g}"
            words = f"{what}, highest minus lowest level of {found.factor} in the same scenes"
            rise = found.sample_rise(data.bootstrap)[:, 0]
            parts.append(measured(f"{kind}_controlled_{found.factor}", words, rise, data.bootstrap.confidence, scenes))
    return parts


CLAIMS = {"C2": loss_rises_with_complexity, "C3": complex_images_need_more_tokens}
