"""C9 and C15: what a linear probe finds in the latents, and in which of them."""

from collections.abc import Mapping

from alit.analysis.bootstrap import estimate, resampled_means
from alit.analysis.claims import NEAR_MAXIMUM, Claim, Measurement, Statement, assesses, measured
from alit.analysis.grid import metric_info
from alit.analysis.selection import sample_curve, tokens_to_reach, uniform_allocation
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.probe import FeaturePoint
from alit.studies.probe.tables import ProbeResults, accuracy_samples, probe_results

# The paper's readings: 2 to 3 iterations against one; the first 64 to 128 of 256 latents against all of them.
LATER = (2, 3)
FEWER = {"quarter": 0.25, "half": 0.5}
ENOUGH = 0.90  # of the accuracy above chance
REFINED = 0.10  # of L1

C9 = Statement(
    id="C9",
    sentence="Recurrence makes the features more linearly separable, and pooling the first quarter to half of the "
    "latents beats pooling all.",
    source="sec. 5",
    paper="top-1 55.6 after one iteration and 59.5 after 2 to 3 on ImageNet-1K; the first 64 to 128 latents beat 256",
    criterion="probe accuracy on image tokens and latents, mean-pooled: iterations 2 and 3 each minus iteration 1 is "
    "above 0; and on latents of the last iteration: the first quarter and the first half each minus all is above 0",
)
C15 = Statement(
    id="C15",
    sentence="The first tokens carry what classification needs; later ones refine the reconstruction.",
    source="sec. 5",
    paper="the first 64 to 128 of 256 latents suffice for a probe; FID falls from 16.2 at 64 tokens to 8.3 at 256",
    criterion=f"the probe of the first quarter of the last iteration's latents reaches above {ENOUGH:.0%} of what the "
    f"probe of all reaches above chance; mean L1 falls by more than {REFINED:.0%} from a quarter of the tokens to all; "
    f"and {NEAR_MAXIMUM:.0%} of its improvement takes L1 more tokens than accuracy, lengths the same for all images",
)


@assesses(C9)
def recurrence_and_first_latents_help(data: StudyData) -> Claim:
    """C9: paired differences of probe accuracy between iterations, and between numbers of pooled latents."""
    results = probe_results(data)
    later, fewer = _later_iterations(data, results), _fewer_latents(data, results)
    missing = []
    if not later:
        missing.append("the profile does not probe image tokens and latents at iterations 1 to 3")
    if not fewer:
        missing.append("the profile does not probe parts of the last iteration's latents")
    return C9.judge([*later, *fewer], missing)


def first_tokens_classify(data: StudyData) -> Claim:
    """C15: accuracy of a probe of the first quarter of the latents, and what the later tokens do for L1."""
    parts, missing = _later_tokens_refine(data)
    try:
        parts = [_first_quarter(data, probe_results(data)), *parts]
    except NotMeasurable as reason:
        missing = [str(reason), *missing]
    return C15.judge(parts, missing)


def _first_quarter(data: StudyData, results: ProbeResults) -> Measurement:
    last, stop = max(results.lengths, default=0), _nearest(results.lengths, FEWER["quarter"])
    columns = [_latents(results, last, stop), _latents(results, last, last), results.find(FeaturePoint("constant"))]
    probed = [column for column in columns if column is not None]
    if len(probed) < len(columns):
        raise NotMeasurable("the profile does not probe parts of the last iteration's latents")
    quarter, every, chance = accuracy_samples(results, probed, data).T
    if estimate(every - chance, data.bootstrap.confidence).low <= 0:
        raise NotMeasurable("the probe of all latents is not clearly above chance")
    share = (quarter - chance) / (every - chance)
    words = f"above chance, accuracy of the first quarter of the latents as a share of that of all, {results.dataset}"
    return measured("probe_quarter", words, share, data.bootstrap.confidence, len(results.correct), ENOUGH)


def _later_iterations(data: StudyData, results: ProbeResults) -> list[Measurement]:
    columns = [_published(results, iteration) for iteration in (1, *LATER)]
    probed = [column for column in columns if column is not None]
    if len(probed) < len(columns):
        return []
    samples = accuracy_samples(results, probed, data)
    return [
        measured(
            f"iteration_{iteration}_over_1",
            f"probe accuracy of iteration {iteration} minus iteration 1, {results.dataset}",
            samples[:, number] - samples[:, 0],
            data.bootstrap.confidence,
            len(results.correct),
            bound=0.0,
        )
        for number, iteration in enumerate(LATER, start=1)
    ]


def _fewer_latents(data: StudyData, results: ProbeResults) -> list[Measurement]:
    """Compare parts of the last iteration's latents with all; an early stop with as many latents decides nothing."""
    lengths = results.lengths
    last, parts = max(lengths, default=0), []
    for name, share in FEWER.items():
        stop = _nearest(lengths, share)
        columns = [_latents(results, last, stop), _latents(results, stop, stop), _latents(results, last, last)]
        probed = [column for column in columns if column is not None]
        if len(probed) < len(columns):
            return []
        first, stopped, every = accuracy_samples(results, probed, data).T
        about = (data.bootstrap.confidence, len(results.correct))
        words = f"probe accuracy of the first {lengths[stop]} latents of the last iteration minus all {lengths[last]}"
        parts.append(measured(f"first_{name}_over_all", words, first - every, *about, bound=0.0))
        words = f"probe accuracy of the iteration with {lengths[stop]} latents minus the last with {lengths[last]}"
        parts.append(measured(f"stop_at_{name}_over_all", words, stopped - every, *about))
    return parts


def _later_tokens_refine(data: StudyData) -> tuple[list[Measurement], list[str]]:
    """Measure what the tokens after the first quarter do for L1, and list what of it cannot be measured."""
    grid, confidence = data.grid.dataset(data.dataset).complete(["l1"]), data.bootstrap.confidence
    means = resampled_means(grid.score("l1"), data.bootstrap.resamples, data.bootstrap.seed)
    stop = _nearest(dict(enumerate(grid.lengths.tolist())), FEWER["quarter"])
    words = f"share of mean L1 that falls from {grid.lengths[stop]} to {grid.longest} tokens, {data.dataset}"
    parts = [measured("l1_after_quarter", words, 1 - means[:, -1] / means[:, stop], confidence, len(grid), REFINED)]
    task = data.accuracy_column
    if task not in data.measured(task):
        return parts, [f"{metric_info(task).label} has no scores"]
    both = grid.complete([task])
    curves = [sample_curve(both, uniform_allocation(both), column, data.bootstrap) for column in ("l1", task)]
    if estimate(curves[1].values[:, -1] - curves[1].values[:, 0], confidence).low <= 0:
        return parts, [f"{metric_info(task).label} does not clearly improve with more tokens"]
    l1, accuracy = (tokens_to_reach(curve, NEAR_MAXIMUM) / both.longest for curve in curves)
    words = f"share of the maximum tokens that L1 needs beyond {metric_info(task).label}, same length for all"
    return [*parts, measured("l1_beyond_accuracy", words, l1 - accuracy, confidence, len(both), bound=0.0)], []


def _published(results: ProbeResults, iteration: int) -> int | None:
    """Return the point that the paper probes: everything that the encoder holds, pooled to one mean."""
    latents = results.lengths.get(iteration, 0)
    return results.find(FeaturePoint("tokenizer", iteration, "both", latents, "encoder", "mean"))


def _latents(results: ProbeResults, iteration: int, first: int) -> int | None:
    """Return the point of an iteration's latents that were there after iteration `first`."""
    latents = results.lengths.get(first, 0)
    return results.find(FeaturePoint("tokenizer", iteration, "latents", latents, "encoder", "mean"))


def _nearest(lengths: Mapping[int, int], share: float) -> int:
    """Return the iteration before the last whose length is nearest a share of the longest."""
    longest = max(lengths.values(), default=0)
    earlier = [iteration for iteration, length in lengths.items() if length < longest]
    return min(earlier, key=lambda iteration: abs(lengths[iteration] - share * longest), default=0)


CLAIMS = {"C9": recurrence_and_first_latents_help, "C15": first_tokens_classify}
