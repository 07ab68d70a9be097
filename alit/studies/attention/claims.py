"""C10 and C11: attention maps and segments, and how sparse the maps become."""

from alit.analysis.claims import Claim, Measurement, Statement, assesses, measured
from alit.analysis.study_data import StudyData
from alit.studies.attention.tables import CONTROLS, SOURCES, OverlapSamples, rule_label, sample_overlap, sample_sparsity

C10 = Statement(
    id="C10",
    sentence="Recurrent iterations improve the alignment of the latents' attention maps with segments.",
    source="sec. 5, Tab. 2",
    paper="mIoU from iteration 1 to 8: 56.7 to 57.8 (40 %), 51.5 to 53.1 (60 %), 37.1 to 39.0 (80 %), on ImageNet-S",
    criterion="mIoU of the latents' maps at the last iteration minus at the first is above 0 with the highest 40, 60 "
    "and 80 % of the pixels kept (the profile's shares), on each data set with masks; controls are "
    "reported for comparison",
)
C11 = Statement(
    id="C11",
    sentence="The first latents' attention becomes sparser over the iterations.",
    source="sec. 3, Fig. 9, 13, 16",
    paper="maps of the first 32 latents after 8 iterations are sharper and sparser (shown, not measured)",
    criterion="from the first to the last iteration, the entropy of the maps of the first iteration's latents falls "
    "and their Gini index rises, on each data set with masks",
)
# As the number of maps grows, the best of them fits better by chance: the rise of these shows how much of it is that.
COMPARED = ("first_latents", "shuffled", "random")


@assesses(C10)
def attention_aligns_with_segments(data: StudyData) -> Claim:
    """C10: the rise of mIoU over the iterations; for comparison, what controls with as many maps reach."""
    parts: list[Measurement] = []
    missing: list[str] = []
    for samples in sample_overlap(data):
        if len(samples.iterations) > 1:
            parts += _rises(data, samples)
        else:
            missing.append(f"one iteration has nothing to rise from, {samples.dataset}")
        parts += _leads(data, samples)
    return C10.judge(parts, missing)


@assesses(C11)
def attention_becomes_sparser(data: StudyData) -> Claim:
    """C11: the fall of entropy and the rise of the Gini index; for comparison, those of all latents."""
    parts: list[Measurement] = []
    for labels, samples in sample_sparsity(data):
        source, name = labels["source"], labels["dataset"]
        rises = labels["measure"] == "gini"
        change = samples[:, -1] - samples[:, 0] if rises else samples[:, 0] - samples[:, -1]
        verb = "rise of the Gini index" if rises else "fall of the entropy"
        words = f"{verb} of the maps of {SOURCES[source]} from the first to the last iteration, {name}"
        bound = 0.0 if source == "first_latents" else None
        key = f"{labels['measure']}_{source}_{name}"
        parts.append(measured(key, words, change, data.bootstrap.confidence, labels["images"], bound))
    return C11.judge(parts)


def _rises(data: StudyData, samples: OverlapSamples) -> list[Measurement]:
    """Measure the rise under the paper's rule; that of all latents decides, those of the others are for comparison."""
    first, last = samples.iterations[0], samples.iterations[-1]
    parts = []
    for share in samples.pixel_shares:
        for source in ("latents", *COMPARED):
            rise = samples.of(source, "pixels", share, last) - samples.of(source, "pixels", share, first)
            words = f"rise of mIoU (points) of {SOURCES[source]}, iteration {first} to {last}, {_where(samples, share)}"
            bound = 0.0 if source == "latents" else None
            key = f"rise_{source}_{share:.0%}_{samples.dataset}"
            parts.append(measured(key, words, rise, data.bootstrap.confidence, samples.images, bound))
    return parts


def _leads(data: StudyData, samples: OverlapSamples) -> list[Measurement]:
    """Measure the latents' lead over each control at the last iteration; the paper has no control, so none decides."""
    last = samples.iterations[-1]
    parts = []
    for share in samples.pixel_shares:
        own = samples.of("latents", "pixels", share, last)
        for control in CONTROLS:
            lead = own - samples.of(control, "pixels", share, last)
            words = f"mIoU (points) of latents minus {SOURCES[control]}, iteration {last}, {_where(samples, share)}"
            key = f"above_{control}_{share:.0%}_{samples.dataset}"
            parts.append(measured(key, words, lead, data.bootstrap.confidence, samples.images))
    return parts


def _where(samples: OverlapSamples, share: float) -> str:
    return f"{rule_label('pixels', share)}, {samples.dataset}"


CLAIMS = {"C10": attention_aligns_with_segments, "C11": attention_becomes_sparser}
