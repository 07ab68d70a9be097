"""C17: what an iteration costs."""

from itertools import pairwise

import numpy as np

from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.inference import trend
from alit.analysis.measurements import Measurement, measured, measured_together
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.cost.tables import DECODE, ENCODE, OWN, TIMES, round_times, sample_medians, sample_one_pass

# Of the time at the longest length, over all lengths. A network of one pass reads longer sequences at longer lengths
# too, and pays a few per cent for that: a tenth is beyond what the claim can mean by it.
SAME_TIME = 0.10
LEAST_ROUNDS = 6  # of fewer, not even the whole range of the rounds is a 95 % interval of a median: 1 - 2 / 2 ** n

C17 = Statement(
    id="C17",
    sentence="Encoding pays per iteration: an image that makes do with fewer tokens costs less time.",
    source="ICLR version, Tab. 8",
    paper="inference time by iteration, single images, FP32, one H100 (its numbers were not at hand here)",
    criterion="the median time to encode one image rises with the length: its slope over the lengths, as a share of "
    "the time at the longest, is above 0; single steps are reported with simultaneous intervals. True of any "
    "recurrence: the size decides, and the control",
    control="Does an image that makes do with fewer tokens cost less than with a network of one pass? Encoding until "
    "a criterion on pixels holds, which is how a length is found for each image, takes less time than encoding in "
    "one pass to as many tokens, mean over the lengths; and stopping at the shortest length takes less than one pass "
    "to the longest",
    margins=f"{SAME_TIME:.0%} of the time, over all lengths or against another network: one pass pays some of that "
    "for longer sequences alone",
)


@assesses(C17)
def encoding_pays_per_iteration(data: StudyData) -> Claim:
    """C17: trend of the median encoding time over the lengths, rounds paired; and encoding until against one pass."""
    if TIMES not in data.tables:
        raise NotMeasurable("no time was measured; run: dvc repro cost")
    lengths, milliseconds = round_times(data.tables[TIMES], OWN, ENCODE)
    if len(lengths) < 2:
        raise NotMeasurable("the tokenizer has one length, or cannot encode without decoding")
    if len(milliseconds) < LEAST_ROUNDS:
        reason = (
            f"{len(milliseconds)} rounds were timed, and an interval of a median needs {LEAST_ROUNDS} (cost.images)"
        )
        raise NotMeasurable(reason)
    samples = sample_medians(milliseconds, data.bootstrap)
    confidence, images = data.bootstrap.confidence, len(milliseconds)
    words = f"rise of the median time to encode one image with each of {len(lengths)} lengths, share of the longest"
    slope = trend(samples / samples[:, -1:])
    margin = SAME_TIME / (len(lengths) - 1)
    rise = measured("encode_trend", words, slope, confidence, images, bound=0.0, margin=margin)
    words = f"median milliseconds to encode one image to {lengths[-1]} tokens"
    longest = measured("encode_longest_ms", words, samples[:, -1], confidence, images)
    words = f"time to encode to {lengths[0]} tokens, share of that to {lengths[-1]}"
    share = measured("encode_shortest_share", words, samples[:, 0] / samples[:, -1], confidence, images)
    control, missing = [], []
    try:
        control = _against_one_pass(data)
    except NotMeasurable as reason:
        missing = [str(reason)]
    reported = [*_steps(samples, lengths, confidence, images), longest, share, *_against_fixed_lengths(data, lengths)]
    return C17.judge([rise, *control, *reported], missing_control=missing, headline=share)


def _steps(samples: np.ndarray, lengths: np.ndarray, confidence: float, images: int) -> list[Measurement]:
    """Report the rise of each step, as a share of the longest time, with intervals that hold for all steps at once."""
    names = {
        f"encode_{fewer}_{more}": f"rise of the median time to encode one image from {fewer} to {more} tokens, of the "
        "longest"
        for fewer, more in pairwise(lengths.tolist())
    }
    return measured_together(names, np.diff(samples, axis=1) / samples[:, -1:], confidence, images)


def _against_one_pass(data: StudyData) -> list[Measurement]:
    """Compare encoding until it suffices with one pass: mean over the lengths, and where it stops at the shortest."""
    samples, confidence = sample_one_pass(data), data.bootstrap.confidence
    rounds = len(np.unique(data.tables[TIMES]["image"]))
    words = "time to encode until it suffices, times one pass to as many tokens, "
    mean = np.exp(np.log(samples.ratios).mean(axis=1))
    deciding = {"until_over_one_pass": (f"{words}geometric mean of {len(samples.lengths)} lengths", mean)}
    words = f"time to encode until the shortest length suffices, times that of one pass to {samples.lengths[-1]} tokens"
    deciding["until_shortest_over_one_pass"] = (words, samples.shortest)
    parts = [
        measured(name, *each, confidence, rounds, 1.0, "below", margin=SAME_TIME, column="control")
        for name, each in deciding.items()
    ]
    for name, ratios in {"until": samples.ratios, "known": samples.known}.items():
        how = "until it suffices at" if name == "until" else "to a length known beforehand,"
        for length, network, ratio in zip(samples.lengths, samples.networks, ratios.T, strict=True):
            words = f"time to encode {how} {length} tokens, times that of {network}"
            parts.append(measured(f"{name}_over_one_pass_{length}", words, ratio, confidence, rounds, column="control"))
    return parts


def _against_fixed_lengths(data: StudyData, lengths: np.ndarray) -> list[Measurement]:
    """Report, without deciding anything, the time to encode against tokenizers of one length, at that length."""
    times, parts = data.tables[TIMES], []
    own = {name: sample_medians(round_times(times, OWN, name)[1], data.bootstrap) for name in (ENCODE, DECODE)}
    for name in times["tokenizer"].unique():
        for operation, samples in own.items():
            lengths_of_other, other = round_times(times, str(name), operation)
            if name == OWN or len(lengths_of_other) != 1 or int(lengths_of_other[0]) not in lengths:
                continue
            length = int(lengths_of_other[0])
            ratio = samples[:, lengths.tolist().index(length)] / sample_medians(other, data.bootstrap)[:, 0]
            words = f"time to {operation} at {length} tokens, times that of {name}"
            parts.append(measured(f"{operation}_over_{name}", words, ratio, data.bootstrap.confidence, len(other)))
    return parts


CLAIMS = {"C17": encoding_pays_per_iteration}
