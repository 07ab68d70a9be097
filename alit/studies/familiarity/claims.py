"""C4: unfamiliar images lose most at few tokens."""

from itertools import pairwise

from alit.analysis.claims import Claim, Measurement, Statement, measured
from alit.analysis.grid import MIN_IMAGES, metric_info
from alit.analysis.study_data import StudyData
from alit.studies.familiarity.tables import Gap, few_lengths, measured_gaps, ordered_sets

C4 = Statement(
    id="C4",
    sentence="The less an image set is like the training images, the more it loses at few tokens.",
    source="sec. 4, Tab. 1",
    paper="FID at 64 tokens minus FID at 256: 7.92 on ImageNet-100, 12.56 on COCO, 23.32 on WIT",
    criterion="the Fréchet distance at a quarter of the longest length minus that at the longest, of as many images "
    "of each set, rises by more than 0 from each set to the next in the profile's order of familiarity",
)


def unfamiliar_images_lose_most_at_few_tokens(data: StudyData) -> Claim:
    """C4: rise of the gap between few and all tokens from set to set.

    The Fréchet distance decides; L1 and the kernel distance are reported for comparison.
    """
    order = ordered_sets(data)
    gaps = list(measured_gaps(data))
    last = {gap.kind: gap.length for gap in gaps}  # the quarter: longer than the shortest length where they differ
    found = {(gap.kind, gap.dataset): gap for gap in gaps if gap.length == last[gap.kind] and gap.dataset in order}
    parts = [_gap(gap, data) for gap in found.values()]
    for kind in dict.fromkeys(gap.kind for gap in found.values()):
        here = [found[kind, name] for name in order if (kind, name) in found]
        parts += [_rise(nearer, farther, data) for nearer, farther in pairwise(here)]
    return C4.judge(parts, _missing(data, order, "frechet" in last))


def _gap(gap: Gap, data: StudyData) -> Measurement:
    words, confidence = f"{_words(gap, data)}, {gap.dataset}", data.bootstrap.confidence
    return measured(f"{gap.kind}_gap_{gap.dataset}", words, gap.samples, confidence, gap.images)


def _rise(nearer: Gap, farther: Gap, data: StudyData) -> Measurement:
    return measured(
        name=f"{nearer.kind}_rise_{nearer.dataset}_{farther.dataset}",
        statistic=f"rise of the {_words(nearer, data)}, from {nearer.dataset} to {farther.dataset}",
        samples=farther.samples - nearer.samples,
        confidence=data.bootstrap.confidence,
        images=min(nearer.images, farther.images),
        bound=0.0 if nearer.kind == "frechet" else None,
    )


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
        missing.append(f"the Fréchet distance needs features of {extractor}, and {MIN_IMAGES} images of a set")
    return missing


CLAIMS = {"C4": unfamiliar_images_lose_most_at_few_tokens}
