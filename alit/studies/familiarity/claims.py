"""C4: unfamiliar images lose most at few tokens."""

from collections.abc import Mapping, Sequence

import numpy as np

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.grid import MIN_IMAGES, SweepGrid, known_confounds, metric_info
from alit.analysis.inference import trend
from alit.analysis.measurements import Column, Gate, Measurement, gate, measured, pooled
from alit.analysis.rank_correlation import partial_spearman_samples
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData
from alit.studies.familiarity.tables import (
    DISTANCE,
    SURPRISAL,
    Distance,
    Gap,
    few_lengths,
    gap_words,
    measured_distances,
    measured_gaps,
    ordered_sets,
    unfamiliarity,
)

# Of the sets' mean gap, from one set to the next; the paper's two steps are 32 % and 74 % of its sets' mean.
SMALLEST_RISE = 0.1
# Of a rank correlation: what Cohen (1988) calls a small effect explains 1 % of the variance.
SMALL_CORRELATION = 0.1

C4 = Statement(
    id="C4",
    sentence="The less an image set is like the training images, the more it loses at few tokens.",
    source="sec. 4, Tab. 1",
    paper="FID at 64 tokens minus FID at 256: 7.92 on ImageNet-100, 12.56 on COCO, 23.32 on WIT",
    criterion="a distance at a quarter of the longest length minus that at the longest rises over the sets in the "
    "profile's order of familiarity: the slope of a straight line, as a share of the sets' mean gap, is above 0, for "
    "the kernel distance of centered features and, where each set has at least twice as many images as there are "
    "features, for the Fréchet distance extrapolated to infinitely many images; neither depends on the number of "
    "images. First, the order must be one: the measured distance of untouched images from the in-distribution ones "
    "rises from set to set",
    control="Is it familiarity, and is it a loss? Above 0 as well: the slope of the same kernel distance's gap against "
    "the measured distance of a set's untouched images from the in-distribution ones, whatever the assumed order; and "
    "the rise of the gap in mean L1, which no network sees. Where the sweep knows the training images, the slope "
    "against the sets' mean distance from the nearest of them, and within the sets: the rank correlation of an image's "
    "own distance and its gap in L1, codec bytes and contrast held fixed, mean over the sets",
    margins=f"a rise below {SMALLEST_RISE:.0%} of the mean gap from one set to the next is none; the paper's are 32 % "
    f"and 74 %. A correlation within {SMALL_CORRELATION:g} of 0 is none: it explains less than 1 % of the variance "
    "(Cohen's small effect). The code surprisal, which the tokenizer itself gives an image, is reported and decides "
    "nothing: it may be high because an image is unfamiliar, or because it has much to tell",
)
STATED = ("frechet_infinity", "kernel_centered")  # kinds of gap; others are for comparison, or control


@assesses(C4)
def unfamiliar_images_lose_most_at_few_tokens(data: StudyData) -> Claim:
    """C4: trend of the gap between few and all tokens over the sets, by assumed order and by measured distance."""
    order = ordered_sets(data)
    found = list(measured_gaps(data))
    quarter = {gap.kind: gap.length for gap in found}  # longer than the shortest length where they differ
    gaps = {kind: [gap for gap in found if gap.kind == kind and gap.length == quarter[kind]] for kind in quarter}
    ordered = {kind: [gap for gap in these if gap.dataset in order] for kind, these in gaps.items()}
    parts = [_gap(gap, data) for these in ordered.values() for gap in these]
    distances = measured_distances(data)
    parts += [_distance(each, data) for each in distances[1:]]
    missing = _missing(data, order, "kernel_centered" in quarter)
    if len(order) < 2 or not found:
        return C4.judge(parts, missing, missing_control=missing)
    gates = [
        *_order_gates(distances, data),
        *(_loss_gate(ordered[kind], data) for kind in ("l1", *STATED) if kind in ordered),
    ]
    trends = {kind: _trend(these, data) for kind, these in ordered.items() if len(these) == len(order)}
    parts += trends.values()
    if "kernel_centered" in trends:
        parts.append(_by_distance(ordered["kernel_centered"], distances, data))
        parts += _by_training_distance(ordered["kernel_centered"], data)
    parts += _within_sets(order, data)
    return C4.judge(parts, missing, missing_control=missing, gates=gates, headline=_headline(trends))


def _headline(trends: Mapping[str, Measurement]) -> Measurement | None:
    return next((trends[kind] for kind in STATED if kind in trends), None)


def _gap(gap: Gap, data: StudyData) -> Measurement:
    words = f"{_words(gap, data)}, {gap.dataset}"
    return measured(f"{gap.kind}_gap_{gap.dataset}", words, gap.samples, data.bootstrap.confidence, gap.images)


def _distance(found: Distance, data: StudyData) -> Measurement:
    words = f"kernel distance of the untouched images of {found.dataset} from those of {data.dataset}"
    return measured(f"distance_{found.dataset}", words, found.samples, data.bootstrap.confidence, found.images)


def _trend(gaps: Sequence[Gap], data: StudyData) -> Measurement:
    """Measure the slope over the sets in order, for comparison where images or the place of 0 bias the distance."""
    samples, kind = np.stack([gap.samples for gap in gaps], axis=1), gaps[0].kind
    column: Column = "control" if kind == "l1" else "stated"
    decides = kind in ("l1", *STATED)
    return measured(
        name=f"{kind}_trend",
        statistic=f"rise of the {_words(gaps[0], data)}, from set to set, as a share of their mean",
        samples=trend(samples) / samples.mean(axis=1),
        confidence=data.bootstrap.confidence,
        images=min(gap.images for gap in gaps),
        bound=0.0 if decides else None,
        column=column,
        margin=SMALLEST_RISE if decides else None,
    )


def _by_distance(gaps: Sequence[Gap], distances: Sequence[Distance], data: StudyData) -> Measurement:
    """Measure the slope of the gaps over measured distances, each step being an equal part of their range."""
    places = np.stack([each.samples for each in distances], axis=1)
    return _rise(gaps, places, "kernel_centered_by_distance", f"the measured distance from {data.dataset}", data)


def _by_training_distance(gaps: Sequence[Gap], data: StudyData) -> list[Measurement]:
    """Measure the same over the sets' mean distances from the nearest training images, where the table has them."""
    places = []
    for number, gap in enumerate(gaps):
        found = unfamiliarity(data.grid.dataset(gap.dataset), data.settings.feature_extractor)
        if DISTANCE not in found:
            return []
        places.append(resampled_means(found[DISTANCE][:, None], data.settings.resamples, data.seed + number))
    of_what = "the mean distance from the nearest training images"
    return [_rise(gaps, np.concatenate(places, axis=1), "kernel_centered_by_training_distance", of_what, data)]


def _rise(gaps: Sequence[Gap], places: np.ndarray, name: str, of_what: str, data: StudyData) -> Measurement:
    """Measure the slope of the gaps over places (1 + r, sets), each step being an equal part of their range."""
    samples = np.stack([gap.samples for gap in gaps], axis=1)
    centered = places - places.mean(axis=1, keepdims=True)
    slope = (centered * samples).sum(axis=1) / (centered**2).sum(axis=1)
    step = np.ptp(places, axis=1) / (len(gaps) - 1)
    return measured(
        name=name,
        statistic=f"rise of the {_words(gaps[0], data)} with {of_what}, for each of {len(gaps) - 1} equal parts of its "
        "range, as a share of the sets' mean",
        samples=slope * step / samples.mean(axis=1),
        confidence=data.bootstrap.confidence,
        images=min(gap.images for gap in gaps),
        bound=0.0,
        column="control",
        margin=SMALLEST_RISE,
    )


MEASURES = {DISTANCE: ("training_distance", 0.0), SURPRISAL: ("surprisal", None)}  # -> name, and bound


def _within_sets(order: Sequence[str], data: StudyData) -> list[Measurement]:
    """Measure whether images that are less like the training images lose more than others of their set.

    Sets have images of their own, and so resamples of their own; their mean decides, each set is reported.
    """
    sets = {name: data.grid.dataset(name) for name in order}
    held = " and ".join(known_confounds(sets[order[0]])) or "nothing"
    by_set = {}
    for number, (name, here) in enumerate(sets.items()):
        by_set[name] = _gap_correlations(here, data, data.bootstrap._replace(seed=data.seed + number))
    parts, confidence = [], data.bootstrap.confidence
    for measure, (short, bound) in MEASURES.items():
        if not all(measure in found for found in by_set.values()):
            continue
        words = f"Spearman of {measure} and {gap_words(data.grid)}, given {held}"
        parts.append(
            measured(
                name=f"l1_gap_by_{short}",
                statistic=f"{words}, mean over {len(order)} sets",
                samples=pooled(*(found[measure] for found in by_set.values())),
                confidence=confidence,
                images=sum(map(len, sets.values())),
                bound=bound,
                column="control",
                margin=None if bound is None else SMALL_CORRELATION,
            )
        )
        for name, found in by_set.items():
            one = f"l1_gap_by_{short}_{name}"
            parts.append(measured(one, f"{words}, {name}", found[measure], confidence, len(sets[name])))
    return parts


def _gap_correlations(grid: SweepGrid, data: StudyData, bootstrap: BootstrapConfig) -> dict[str, np.ndarray]:
    """Return partial rank correlations (1 + r,) of an image's own gap with each measure, confounds held fixed."""
    known = unfamiliarity(grid, data.settings.feature_extractor)
    if not known:
        return {}
    losses, values = grid.score("l1"), np.stack(list(known.values()), axis=1)
    gap = losses[:, few_lengths(grid)[-1]] - losses[:, -1]
    held = list(known_confounds(grid).values())
    return dict(zip(known, partial_spearman_samples(gap, values, held, bootstrap).T, strict=True))


def _order_gates(distances: Sequence[Distance], data: StudyData) -> list[Gate]:
    """Return that the profile's order is one of measured distance, which trends over that order need."""
    if not distances:
        return []
    rises = np.diff(np.stack([each.samples for each in distances], axis=1), axis=1)
    words = "least rise, from set to set, of the measured distance from the in-distribution images"
    guarded = tuple(f"{kind}_trend" for kind in ("l1", *STATED))
    return [gate("order", words, rises.min(axis=1), data.bootstrap.confidence, 0.0, guards=guarded)]


def _loss_gate(gaps: Sequence[Gap], data: StudyData) -> Gate:
    """Return that the sets lose at few tokens at all, without which there is nothing that could rise."""
    samples, kind = np.stack([gap.samples for gap in gaps], axis=1).mean(axis=1), gaps[0].kind
    words = f"{_words(gaps[0], data)}, mean over the sets,"
    guarded = (f"{kind}_trend", f"{kind}_by_distance")
    return gate(f"loss_{kind}", words, samples, data.bootstrap.confidence, 0.0, guards=guarded)


def _words(gap: Gap, data: StudyData) -> str:
    return f"{metric_info(gap.column).label} at {gap.length} tokens minus that at {data.grid.longest}"


def _missing(data: StudyData, order: tuple[str, ...], has_features: bool) -> list[str]:
    if not few_lengths(data.grid):
        return ["a tokenizer of one length has no fewer tokens to lose at"]
    absent = [name for name in data.settings.familiarity if name not in order]
    missing = [f"the table has no images of {name}" for name in absent]
    if not data.settings.familiarity:
        missing.append("the profile names no sets less familiar than the in-distribution one")
    if not has_features:
        extractor = data.settings.feature_extractor or "an extractor"
        missing.append(f"distances between sets need features of {extractor}, and {MIN_IMAGES} images of a set")
    return missing


CLAIMS = {"C4": unfamiliar_images_lose_most_at_few_tokens}
