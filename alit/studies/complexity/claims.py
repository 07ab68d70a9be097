"""C2 and C3: complexity, loss and length."""

from collections.abc import Sequence

import numpy as np

from alit.analysis.bootstrap import resampled_influences, resampled_means
from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.grid import CODEC_LABELS, CONTRAST, SweepGrid, known_confounds
from alit.analysis.measurements import Column, Measurement, measured, measured_together, pooled
from alit.analysis.rank_correlation import kendall_influence, partial_spearman_samples, spearman_samples
from alit.analysis.selection import (
    Allocation,
    BootstrapConfig,
    SelectionCriterion,
    allocate_by_threshold,
    middle_threshold,
)
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.complexity.tables import (
    OWN_SHARE,
    Fan,
    fan_samples,
    measured_levels,
    own_lengths,
    scored_datasets,
    scored_images,
)

# Of a rank correlation, or of a difference of two: what Cohen (1988) calls a small effect explains 1 % of the variance.
SMALL_CORRELATION = 0.1

C2 = Statement(
    id="C2",
    sentence="At a fixed number of tokens the reconstruction loss rises with the image's complexity.",
    source="sec. 4, Fig. 4, 11, 12",
    paper="L1 rises with human complexity on the art, scenes and objects of SAVOIAS, higher at fewer tokens",
    criterion="Spearman of complexity and L1, mean over all lengths, is above 0 on each data set with complexities",
    control="Does complexity matter more at few tokens, so that the lines of Fig. 4 open like a fan? Above 0 on each "
    "such set: Spearman of complexity and the fall of L1 from the shortest to the longest length (the scale of the "
    "figure), and Spearman of complexity and L1 at the shortest length minus that at the longest (any scale)",
    margins=f"correlations within {SMALL_CORRELATION:g} of 0 are none: they explain less than 1 % of the variance "
    "(Cohen's small effect)",
)
C3 = Statement(
    id="C3",
    sentence="Complex images need more tokens for the same loss.",
    source="sec. 4, Fig. 4, 11, 12",
    paper="the length under a loss threshold rises with human complexity on art, scenes and objects of SAVOIAS",
    criterion="Spearman of complexity and the length selected by L1 < threshold is above 0 on each data set with "
    "complexities, at the profile's threshold whose mean length is nearest the middle of the lengths",
    control="A common threshold asks more of an image with a larger loss, whatever tokens bring it: C2 alone implies "
    "this claim. Is the need the image's own? Above 0 on each such set: the same correlation with the bytes of codecs "
    "and the RMS contrast held fixed (partial rank correlation), and Spearman of complexity and the fewest tokens with "
    f"which an image has made {OWN_SHARE:.0%} of its own improvement in L1",
    margins=C2.margins,
)


@assesses(C2)
def loss_rises_with_complexity(data: StudyData) -> Claim:
    """C2: rank correlation of complexity and L1, and whether it is stronger at few tokens; controlled scenes beside."""
    parts: list[Measurement] = []
    overall = []
    sets = _scored(data)
    for name, here, bootstrap in sets:
        fan, samples = fan_samples(here, bootstrap)
        overall.append(pooled(*samples.T))
        words = f"Spearman of complexity and L1, mean over lengths, {name}"
        parts.append(_decides(data, here, f"loss_{name}", words, overall[-1], "stated"))
        parts += _by_length(data, here, samples)
        parts += _fan(data, here, fan)
    words = f"Spearman of complexity and L1, mean over {len(overall)} sets and all lengths"
    headline = measured("loss", words, pooled(*overall), data.bootstrap.confidence, _images(sets))
    return C2.judge([*parts, *_rises(data, "loss")], headline=headline)


def _by_length(data: StudyData, grid: SweepGrid, samples: np.ndarray) -> list[Measurement]:
    """Report the correlation at each length, samples (1 + r, l), with simultaneous intervals."""
    dataset = grid.datasets[0]
    names = {
        f"loss_{dataset}_{length}": f"Spearman of complexity and L1 with {length} tokens, {dataset} "
        "(simultaneous intervals)"
        for length in grid.lengths
    }
    return measured_together(names, samples, data.bootstrap.confidence, len(grid))


def _fan(data: StudyData, grid: SweepGrid, found: Fan) -> list[Measurement]:
    """Measure the interaction of complexity and length on each scale; a ratio is reported for comparison."""
    if len(grid.lengths) < 2:
        return []
    name, few, many = grid.datasets[0], grid.lengths[0], grid.longest
    fall = f"Spearman of complexity and the fall of L1 from {few} to {many} tokens, {name}"
    difference = f"Spearman of complexity and L1 with {few} tokens minus that with {many}, {name}"
    ratio = f"Spearman of complexity and L1 with {few} tokens over L1 with {many}, {name}"
    return [
        _decides(data, grid, f"fan_fall_{name}", fall, found.fall, "control"),
        _decides(data, grid, f"fan_difference_{name}", difference, found.difference, "control"),
        measured(f"fan_ratio_{name}", ratio, found.ratio, data.bootstrap.confidence, len(grid)),
    ]


@assesses(C3)
def complex_images_need_more_tokens(data: StudyData) -> Claim:
    """C3: rank correlation of complexity and selected length, by a common threshold and by an image's own measure."""
    parts: list[Measurement] = []
    lengths, without = [], []
    sets = _scored(data)
    for name, here, bootstrap in sets:
        threshold = middle_threshold(here, data.settings.l1_thresholds)
        allocation = allocate_by_threshold(here, SelectionCriterion("l1"), [threshold])
        selected = here.lengths[allocation.positions]
        samples = spearman_samples(here.per_image("complexity"), selected, bootstrap)[:, 0]
        lengths.append(samples)
        words = f"Spearman of complexity and length under L1 < {threshold:g}, {name}"
        parts.append(_decides(data, here, f"length_{name}", words, samples, "stated"))
        parts += _at_the_cap(data, here, allocation, threshold, bootstrap)
        parts += _codecs(data, here, samples, bootstrap)
        parts += _beyond(data, here, words, selected, bootstrap)
        if not np.isfinite(here.per_image(CONTRAST)).all():
            without.append(name)
    missing = [f"the table has no RMS contrast of the images of {', '.join(without)}; sweep again"] if without else []
    words = f"Spearman of complexity and selected length, mean over {len(lengths)} sets"
    headline = measured("length", words, pooled(*lengths), data.bootstrap.confidence, _images(sets))
    return C3.judge([*parts, *_rises(data, "length")], missing_control=missing, headline=headline)


def _at_the_cap(
    data: StudyData, grid: SweepGrid, allocation: Allocation, threshold: float, bootstrap: BootstrapConfig
) -> list[Measurement]:
    """Report how many images no length satisfies, and a correlation that puts no order between these.

    Their need is censored: larger than the longest length, nobody knows by how much.
    """
    name, confidence, limit = grid.datasets[0], data.bootstrap.confidence, f"L1 < {threshold:g}"
    served = allocation.satisfied[:, 0].astype(bool)
    needs = np.where(served, grid.lengths[allocation.positions[:, 0]], np.inf)
    found = kendall_influence(grid.per_image("complexity"), needs)
    tau = resampled_influences([found], bootstrap.resamples, bootstrap.seed)[:, 0]
    censored = resampled_means(~served[:, None], bootstrap.resamples, bootstrap.seed)[:, 0]
    words = (
        f"Kendall's tau-b of complexity and length under {limit}, {name} (images that no length satisfies: no order)"
    )
    share = f"share of the images that no length brings under {limit}, {name}"
    return [
        measured(f"length_tau_{name}", words, tau, confidence, len(grid)),
        measured(f"length_censored_{name}", share, censored, confidence, len(grid)),
    ]


def _codecs(data: StudyData, grid: SweepGrid, lengths: np.ndarray, bootstrap: BootstrapConfig) -> list[Measurement]:
    """Report what the bytes of codecs know of complexity, beside the correlation (1 + r,) of the lengths."""
    codecs, name, confidence = grid.codecs(), grid.datasets[0], data.bootstrap.confidence
    if not codecs:
        return []
    sizes = np.stack([grid.per_image(codec) for codec in codecs], axis=1)
    parts = []
    for codec, samples in zip(codecs, spearman_samples(grid.per_image("complexity"), sizes, bootstrap).T, strict=True):
        label = CODEC_LABELS[codec]
        words, gain = (
            f"Spearman of complexity and {label}, {name}",
            f"Spearman with length minus that with {label}, {name}",
        )
        parts.append(measured(f"{codec}_{name}", words, samples, confidence, len(grid)))
        parts.append(measured(f"gain_over_{codec}_{name}", gain, lengths - samples, confidence, len(grid)))
    return parts


def _beyond(
    data: StudyData, grid: SweepGrid, words: str, selected: np.ndarray, bootstrap: BootstrapConfig
) -> list[Measurement]:
    """Measure what is left of the selected length (n, 1) given bytes and contrast, and an image's own length."""
    name, complexity, parts = grid.datasets[0], grid.per_image("complexity"), []
    if held := known_confounds(grid):
        left = partial_spearman_samples(complexity, selected, list(held.values()), bootstrap)[:, 0]
        given = f"{words}, given {', '.join(held)}"
        parts.append(_decides(data, grid, f"length_given_confounds_{name}", given, left, "control"))
    own = spearman_samples(complexity, own_lengths(grid)[:, None], bootstrap)[:, 0]
    own_words = f"Spearman of complexity and the length of {OWN_SHARE:.0%} of an image's own improvement, {name}"
    return [*parts, _decides(data, grid, f"own_length_{name}", own_words, own, "control")]


def _scored(data: StudyData) -> list[tuple[str, SweepGrid, BootstrapConfig]]:
    """Return each set with complexities, its scored images, and resamples that are independent of other sets'.

    Raises:
        NotMeasurable: there is none.
    """
    names = scored_datasets(data.grid)
    if not names:
        raise NotMeasurable("no data set in the table has enough images with a complexity")
    seeds = [data.bootstrap._replace(seed=data.seed + number) for number in range(len(names))]
    return [(name, scored_images(data.grid, name), seed) for name, seed in zip(names, seeds, strict=True)]


def _decides(
    data: StudyData, grid: SweepGrid, name: str, words: str, samples: np.ndarray, column: Column
) -> Measurement:
    confidence = data.bootstrap.confidence
    return measured(name, words, samples, confidence, len(grid), bound=0.0, column=column, margin=SMALL_CORRELATION)


def _images(sets: Sequence[tuple[str, SweepGrid, BootstrapConfig]]) -> int:
    return sum(len(here) for _, here, _ in sets)


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
