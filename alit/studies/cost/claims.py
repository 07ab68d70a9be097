"""C17: what an iteration costs."""

from itertools import pairwise

from alit.analysis.claims import Claim, Measurement, Statement, assesses, measured
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.cost.tables import DECODE, ENCODE, OWN, TIMES, round_times, sample_medians

C17 = Statement(
    id="C17",
    sentence="Encoding pays per iteration: an image that makes do with fewer tokens costs less time.",
    source="ICLR version, Tab. 8",
    paper="inference time by iteration, single images, FP32, one H100 (its numbers were not at hand here)",
    criterion="the median time to encode one image rises from each length to the next: each step, as a share of the "
    "time at the longest length, is above 0",
)


@assesses(C17)
def encoding_pays_per_iteration(data: StudyData) -> Claim:
    """C17: rise of the median encoding time from each length to the next, rounds paired."""
    if TIMES not in data.tables:
        raise NotMeasurable("no time was measured; run: dvc repro cost")
    lengths, milliseconds = round_times(data.tables[TIMES], OWN, ENCODE)
    if len(lengths) < 2:
        raise NotMeasurable("the tokenizer has one length, or cannot encode without decoding")
    samples = sample_medians(milliseconds, data.bootstrap)
    confidence, images = data.bootstrap.confidence, len(milliseconds)
    parts: list[Measurement] = []
    for place, (fewer, more) in enumerate(pairwise(lengths.tolist())):
        rise = (samples[:, place + 1] - samples[:, place]) / samples[:, -1]
        words = f"rise of the median time to encode one image from {fewer} to {more} tokens, share of the longest"
        parts.append(measured(f"encode_{fewer}_{more}", words, rise, confidence, images, bound=0.0))
    words = f"median milliseconds to encode one image to {lengths[-1]} tokens"
    parts.append(measured("encode_longest_ms", words, samples[:, -1], confidence, images))
    share = samples[:, 0] / samples[:, -1]
    words = f"time to encode to {lengths[0]} tokens, share of that to {lengths[-1]}"
    parts.append(measured("encode_shortest_share", words, share, confidence, images))
    return C17.judge([*parts, *_against_fixed_lengths(data, lengths.tolist())])


def _against_fixed_lengths(data: StudyData, lengths: list[int]) -> list[Measurement]:
    """Report, without deciding anything, the time to encode against tokenizers of one length, at that length."""
    times = data.tables[TIMES]
    parts = []
    for name in times["tokenizer"].unique():
        own_length, other = round_times(times, str(name), ENCODE)
        if name == OWN or len(own_length) != 1 or int(own_length[0]) not in lengths:
            continue
        for operation in (ENCODE, DECODE):
            _, own = round_times(times, OWN, operation)
            _, other = round_times(times, str(name), operation)
            place = lengths.index(int(own_length[0]))
            own_samples = sample_medians(own, data.bootstrap)[:, place]
            ratio = own_samples / sample_medians(other, data.bootstrap)[:, 0]
            words = f"time to {operation} at {own_length[0]} tokens, times that of {name}"
            parts.append(measured(f"{operation}_over_{name}", words, ratio, data.bootstrap.confidence, len(own)))
    return parts


CLAIMS = {"C17": encoding_pays_per_iteration}
