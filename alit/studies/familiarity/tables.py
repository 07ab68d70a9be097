"""Familiarity: how far sets lie from the training distribution, and what they lose at few tokens (paper, Tab. 1).

The paper compares the FID at 64 tokens with that at all 256, on images of the training distribution, on near and on far
ones, and asserts which is which. Here a quarter of the longest length stands for the 64 tokens. Sets have images of
their own, so that they are resampled independently; the lengths of one set are paired. Where the sweep knows the
training images, familiarity is measured, image by image: as the distance from the nearest of them, and as the surprise
of an image's ids under a model of theirs.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.distances import DistanceKind, as_distances, sample_distances, sample_kernel_between
from alit.analysis.grid import (
    CODEC_LABELS,
    MIN_IMAGES,
    TRAINING_DISTANCE,
    SweepGrid,
    every_length,
    known_confounds,
    metric_info,
)
from alit.analysis.rank_correlation import partial_spearman_samples
from alit.analysis.selection import BootstrapConfig, SelectionCriterion, allocate_by_threshold, middle_threshold
from alit.analysis.study_data import StudyData

SHARE = 0.25  # of the longest length: 64 of the paper's 256 tokens


Kind = Literal["l1"] | DistanceKind


class Gap(NamedTuple):
    """How much more a set loses at few tokens than at the longest length; positive is worse at few."""

    dataset: str
    images: int
    kind: Kind
    column: str
    length: int  # the few tokens
    samples: np.ndarray  # (1 + r,)


def ordered_sets(data: StudyData) -> tuple[str, ...]:
    """Return the in-distribution set and those of `analysis.familiarity` that were swept, most familiar first."""
    farther = [name for name in data.settings.familiarity if name in data.grid.datasets and name != data.dataset]
    return (data.dataset, *farther)


def few_lengths(grid: SweepGrid) -> tuple[int, ...]:
    """Return the places of the shortest length and of the one nearest a quarter of the longest, shortest first."""
    quarter = int(np.abs(grid.lengths - SHARE * grid.longest).argmin())
    return tuple(dict.fromkeys(place for place in (0, quarter) if place < len(grid.lengths) - 1))


def measured_gaps(data: StudyData) -> Iterator[Gap]:
    """Yield the gaps of every set: mean L1, and where there are reference features the two distances.

    The Fréchet distance depends on the number of images, so that its gaps are taken of as many images from each of the
    ordered sets as the smallest of them has, spread evenly over a set; other sets have none. What remains of the bias
    is the same for sets whose features spread alike, which nothing guarantees. Two distances have no such bias and take
    all images: the kernel distance, and the Fréchet distance extrapolated to infinitely many images, where every one of
    the ordered sets has enough for that. A cubic kernel counts the same change of features more in a set whose features
    are larger: sets are compared by the distance of features centered on each set's untouched images.
    """
    order = ordered_sets(data)
    names = [*order, *(name for name in data.grid.datasets if name not in order)]
    fewest = min(len(data.grid.dataset(name)) for name in order)
    extractor = data.settings.feature_extractor
    found = data.reference_features if data.grid.clean_rows is not None else None
    features = None if found is None else as_distances(found)
    for number, name in enumerate(names):
        here = data.grid.dataset(name)
        bootstrap = data.bootstrap._replace(seed=data.seed + number)
        losses = np.take_along_axis(here.score("l1"), _compared_lengths(here), axis=1)
        yield from _gaps(here, "l1", "l1", resampled_means(losses, bootstrap.resamples, bootstrap.seed))
        if features is None or len(here) < MIN_IMAGES:
            continue
        if name in order:
            equal = here.subset(np.arange(fewest) * len(here) // fewest)
            distances = sample_distances(features, "frechet", equal, _compared_lengths(equal), bootstrap)
            yield from _gaps(equal, "frechet", f"frechet_{extractor}", distances)
        kinds: list[DistanceKind] = ["kernel", "kernel_centered"]
        if name in order and features.can_extrapolate(fewest):
            kinds.insert(0, "frechet_infinity")
        for kind in kinds:
            distances = sample_distances(features, kind, here, _compared_lengths(here), bootstrap)
            yield from _gaps(here, kind, f"{kind}_{extractor}", distances)


def gap_table(data: StudyData) -> pd.DataFrame:
    """Return the gaps as tidy rows.

    Returns:
        Columns dataset, images, measure, label, length (the few tokens), value, low, high; most familiar sets first.
    """
    parts = []
    for gap in measured_gaps(data):
        rows = interval_table(
            gap.samples[:, None],
            data.bootstrap.confidence,
            dataset=gap.dataset,
            images=gap.images,
            measure=gap.column,
            label=metric_info(gap.column).label,
            length=gap.length,
        )
        parts.append(rows)
    columns = ["dataset", "images", "measure", "label", "length", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _compared_lengths(grid: SweepGrid) -> np.ndarray:
    """Return the positions (n, t) that give all images each of the few lengths, then the longest."""
    places = [*few_lengths(grid), len(grid.lengths) - 1]
    return every_length(grid)[:, places]


def _gaps(grid: SweepGrid, kind: Kind, column: str, samples: np.ndarray) -> Iterator[Gap]:
    """Take samples (1 + r, t) of `_compared_lengths` at few tokens minus those at the longest length."""
    for number, place in enumerate(few_lengths(grid)):
        gap = samples[:, number] - samples[:, -1]
        yield Gap(grid.datasets[0], len(grid), kind, column, int(grid.lengths[place]), gap)


class Distance(NamedTuple):
    """How unlike a set's images are the in-distribution ones; 0 for the in-distribution set itself."""

    dataset: str
    images: int
    samples: np.ndarray  # (1 + r,)


def measured_distances(data: StudyData) -> tuple[Distance, ...]:
    """Return the kernel distance of each ordered set's untouched images from the in-distribution ones, in order.

    In-distribution images were not trained on, but drawn as the training images were: they stand for the distribution
    that the tokenizer knows. Images are resampled as those of `measured_gaps`, so that a set's distance and its gap are
    paired. Nothing where there are no reference features.
    """
    order, features = ordered_sets(data), data.reference_features
    sizes = [len(data.grid.dataset(name)) for name in order]
    if features is None or data.grid.clean_rows is None or min(sizes) < MIN_IMAGES:
        return ()
    inside, distances = data.grid.dataset(data.dataset), as_distances(features)
    found = [Distance(data.dataset, len(inside), np.zeros(1 + data.settings.resamples))]
    for number, name in enumerate(order[1:], start=1):
        seeds = (data.seed, data.seed + number)
        samples = sample_kernel_between(distances, inside, data.grid.dataset(name), data.bootstrap, seeds)
        found.append(Distance(name, len(data.grid.dataset(name)), samples))
    return tuple(found)


def distance_table(data: StudyData) -> pd.DataFrame:
    """Return how far each ordered set lies from the in-distribution one: columns dataset, images, value, low, high."""
    found = measured_distances(data)
    if not found:
        return pd.DataFrame(columns=["dataset", "images", "value", "low", "high"])
    return interval_table(
        np.stack([each.samples for each in found], axis=1),
        data.bootstrap.confidence,
        dataset=[each.dataset for each in found],
        images=[each.images for each in found],
    )


DISTANCE, SURPRISAL = "distance from training images", "code surprisal"
SURPRISAL_COLUMN = "entropy_bits_by_position"
WITHIN_COLUMNS = ["dataset", "images", "measure", "outcome", "given", "value", "low", "high"]


def unfamiliarity(grid: SweepGrid, extractor: str) -> dict[str, np.ndarray]:
    """Return how unlike the training images each image is, in words -> (n,); what the table lacks is left out.

    The distance of an extractor's features from those of the nearest training images, and the code surprisal: the
    entropy-coded bits for each token at the longest length, by a model of training images' ids at each place. Files of
    an image codec are their own entropy-coded size, which says nothing of any training.
    """
    found = {DISTANCE: grid.per_image(f"{TRAINING_DISTANCE}{extractor}")}
    if SURPRISAL_COLUMN in grid.scores and not np.array_equal(grid.score(SURPRISAL_COLUMN), grid.score("bits")):
        found[SURPRISAL] = grid.score(SURPRISAL_COLUMN)[:, -1] / grid.longest
    return {words: values for words, values in found.items() if np.isfinite(values).all()}


def costs_of_few_tokens(grid: SweepGrid, threshold: float) -> dict[str, np.ndarray]:
    """Return what familiarity may spare an image, in words -> (n,): its loss at few tokens, the gap to that at the
    longest length, and the length under an L1 threshold.
    """
    losses, place = grid.score("l1"), few_lengths(grid)[-1]
    selected = grid.lengths[allocate_by_threshold(grid, SelectionCriterion("l1"), [threshold]).positions[:, 0]]
    return {
        gap_words(grid): losses[:, place] - losses[:, -1],
        f"L1 with {grid.lengths[place]} tokens": losses[:, place],
        f"length under L1 < {threshold:g}": selected.astype(np.float64),
    }


def gap_words(grid: SweepGrid) -> str:
    """Return what an image loses at few tokens, in words."""
    return f"L1 gap, {grid.lengths[few_lengths(grid)[-1]]} to {grid.longest}"


def within_sets(data: StudyData) -> pd.DataFrame:
    """Return whether images that are less like the training images cost more than others of their set.

    Spearman of each measure of unfamiliarity with each of `costs_of_few_tokens`, plain and with `known_confounds` held
    fixed. The threshold is that of `middle_threshold` on in-distribution images.

    Returns:
        Columns dataset, images, measure (words), outcome (words), given (words), value, low, high. No rows where the
        sweep knows no training images, or the tokenizer has one length.
    """
    if not few_lengths(data.grid):
        return pd.DataFrame(columns=WITHIN_COLUMNS)
    threshold = middle_threshold(data.grid.dataset(data.dataset), data.settings.l1_thresholds)
    order, parts = ordered_sets(data), []
    names = [*order, *(name for name in data.grid.datasets if name not in order)]
    for number, name in enumerate(names):
        here, bootstrap = data.grid.dataset(name), data.bootstrap._replace(seed=data.seed + number)
        outcomes = costs_of_few_tokens(here, threshold)
        values, confounds = np.stack(list(outcomes.values()), axis=1), known_confounds(here)
        for measure, unlike in unfamiliarity(here, data.settings.feature_extractor).items():
            for held in ({}, confounds) if confounds else ({},):
                rows = interval_table(
                    partial_spearman_samples(unlike, values, list(held.values()), bootstrap),
                    bootstrap.confidence,
                    dataset=name,
                    images=len(here),
                    measure=measure,
                    outcome=list(outcomes),
                    given=", ".join(held) or "nothing",
                )
                parts.append(rows)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=WITHIN_COLUMNS)


def unfamiliarity_table(data: StudyData) -> pd.DataFrame:
    """Return how unlike the training images each set is: columns dataset, images, measure (words), value, low, high.

    Means over images; ordered sets first, in order.
    """
    order, parts = ordered_sets(data), []
    for number, name in enumerate([*order, *(name for name in data.grid.datasets if name not in order)]):
        here = data.grid.dataset(name)
        for measure, values in unfamiliarity(here, data.settings.feature_extractor).items():
            samples = resampled_means(values[:, None], data.bootstrap.resamples, data.seed + number)
            labels = {"dataset": name, "images": len(here), "measure": measure}
            parts.append(interval_table(samples, data.bootstrap.confidence, **labels))
    columns = ["dataset", "images", "measure", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def auroc_samples(familiar: np.ndarray, others: np.ndarray, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r,) areas under the ROC curve, `others` (m,) being the positive class against `familiar` (n,).

    Both sets are resampled independently. A resample moves the area by the mean placement of its images (DeLong et
    al. 1988), kept within [0, 1].
    """
    above = _placements(others, familiar)
    below = 1 - _placements(familiar, others)
    area = above.mean()
    moved = [
        resampled_means(values[:, None], bootstrap.resamples, seed)[:, 0]
        for values, seed in ((above, bootstrap.seed), (below, bootstrap.seed + 1))
    ]
    return np.clip(moved[0] + moved[1] - area, 0, 1)


def detectors(grid: SweepGrid, threshold: float, extractor: str = "") -> dict[tuple[str, str], np.ndarray]:
    """Return numbers (n,) that should be higher the less familiar an image is, by kind and name.

    The loss at each length, its fall from few tokens to the longest length ("gap"), the selected length, measured
    `unfamiliarity` where the table has it, by the features of an extractor, and the bytes of codecs.
    """
    losses = grid.score("l1")
    selected = grid.lengths[allocate_by_threshold(grid, SelectionCriterion("l1"), [threshold]).positions[:, 0]]
    found = {("loss", f"L1 with {length} tokens"): losses[:, k] for k, length in enumerate(grid.lengths)}
    for k in few_lengths(grid):
        found["gap", f"L1 gap, {grid.lengths[k]} to {grid.longest}"] = losses[:, k] - losses[:, -1]
    found["length", f"length under L1 < {threshold:g}"] = selected
    found |= {("training images", words): values for words, values in unfamiliarity(grid, extractor).items()}
    return found | {("codec", CODEC_LABELS[codec]): grid.per_image(codec) for codec in grid.codecs()}


def detection_table(data: StudyData) -> pd.DataFrame:
    """Return how well each detector tells each other set from the in-distribution one.

    The L1 threshold of the selected length is that of `middle_threshold` on in-distribution images: it is chosen
    without the other sets.

    Returns:
        Columns dataset, images, familiar (in-distribution images), kind, predictor (words), value, low, high.
    """
    here = data.grid.dataset(data.dataset)
    threshold = middle_threshold(here, data.settings.l1_thresholds)
    extractor = data.settings.feature_extractor
    inside = detectors(here, threshold, extractor)
    order = ordered_sets(data)
    others = [*order[1:], *(name for name in data.grid.datasets if name not in order)]
    parts = []
    for name in others:
        outside = detectors(data.grid.dataset(name), threshold, extractor)
        known = [detector for detector in outside if detector in inside]
        samples = [auroc_samples(inside[detector], outside[detector], data.bootstrap) for detector in known]
        rows = interval_table(
            np.stack(samples, axis=1),
            data.bootstrap.confidence,
            dataset=name,
            images=len(data.grid.dataset(name)),
            familiar=len(here),
            kind=[kind for kind, _ in known],
            predictor=[words for _, words in known],
        )
        parts.append(rows)
    columns = ["dataset", "images", "familiar", "kind", "predictor", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _placements(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the share of `among` (m,) that lies below each of `scores` (n,), equal ones counting half."""
    ordered = np.sort(among)
    below, not_above = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return (below + not_above) / (2 * len(ordered))
