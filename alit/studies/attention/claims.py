"""C10, C11 and C18: attention maps and segments over the iterations, how sparse maps become, and the best threshold."""

from collections.abc import Sequence

import numpy as np

from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.measurements import Column, Gate, Measurement, gate, measured, measured_together, pooled
from alit.analysis.study_data import StudyData
from alit.studies.attention.tables import (
    CONTROLS,
    SOURCES,
    OverlapSamples,
    SparsitySamples,
    rule_label,
    sample_overlap,
    sample_sparsity,
    total_rise,
)

# Smallest effect of interest, in points of mIoU: about half the smallest rise that Tab. 2 reports (1.1 points).
OVERLAP_MARGIN = 0.5
# Smallest effect of interest in entropy (a share of its maximum) and Gini index, both from 0 to 1: a hundredth of it.
SPARSITY_MARGIN = 0.01
# IoU from which a mask counts as found: PASCAL VOC (Everingham et al. 2010, sec. 4.2), and the least that COCO takes.
FOUND = 50.0
PAPERS_SHARE = 0.4  # "With 40 % attention, we achieve 57.8 mean IOU" (sec. 5)

C10 = Statement(
    id="C10",
    sentence="Recurrent iterations improve the alignment of the latents' attention maps with segments.",
    source="sec. 5, Tab. 2, Fig. 9",
    paper="mIoU from iteration 1 to 8: 56.7 to 57.8 (40 %), 51.5 to 53.1 (60 %), 37.1 to 39.0 (80 %), on ImageNet-S",
    criterion="mIoU of the latents' maps, mean over the kept shares of the pixels (the profile's; 40, 60, 80 and "
    "20 %), rises over the iterations: the rise of a fitted line from the first to the last is above 0, per data set "
    "with masks",
    control="The best of more maps fits any mask better, and each iteration adds maps. Does alignment with the image "
    "rise? The same rise is above 0 for the latents minus another image's maps, as many; and with a fixed number of "
    "maps, those of the first iteration's latents (Fig. 9: the update on existing tokens)",
    margins=f"{OVERLAP_MARGIN} points of mIoU: about half the smallest rise in Tab. 2",
)
C11 = Statement(
    id="C11",
    sentence="The first latents' attention becomes sparser over the iterations.",
    source="sec. 3, Fig. 9, 13, 16",
    paper="maps of the first 32 latents after 8 iterations are sharper and sparser (shown, not measured)",
    criterion="over the iterations, the entropy of the maps of the first iteration's latents falls and their Gini "
    "index rises, along a fitted line from the first to the last, in the layer that is shown, per data set with masks",
    control="Is it so in the decoder, or in the layer that was chosen? The same, mean over all layers, for the first "
    "iteration's latents and for all latents",
    margins=f"{SPARSITY_MARGIN} of both measures, which go from 0 to 1",
)
C18 = Statement(
    id="C18",
    sentence="With the best threshold per image, the latents' attention maps align highly with segments.",
    source="sec. 5",
    paper="71.8 mIoU, against 57.8 with 40 % kept, on ImageNet-S",
    criterion=f"at the last iteration, mIoU with the share of pixels that fits the image best is above {FOUND:g} %, "
    "from which on a mask counts as found, per data set with masks; not measurable where no map can reach that",
    control="The threshold is chosen by the masks themselves. Is it above what the same choice gives to another "
    "image's maps, and to regions of the base tokenizer's features (k-means), as many?",
    margins=f"{OVERLAP_MARGIN} points of mIoU under control, as for C10",
)


@assesses(C10)
def attention_aligns_with_segments(data: StudyData) -> Claim:
    """C10: the rise of mIoU over the iterations, beyond another image's maps, and with a fixed number of maps."""
    parts: list[Measurement] = []
    gates: list[Gate] = []
    missing: list[str] = []
    rises = []
    sets = list(sample_overlap(data))
    for samples in sets:
        parts += _leads(data, samples)
        if len(samples.iterations) == 1:
            missing.append(f"one iteration has nothing to rise from, {samples.dataset}")
            continue
        found, room = _rises(data, samples)
        rises.append(total_rise(samples.by_iteration("latents")))
        parts += found
        gates += room
    headline = None
    if rises:
        words = f"rise of mIoU (points) of the latents' maps over the iterations, {', '.join(s.dataset for s in sets)}"
        headline = measured("rise", words, pooled(*rises), data.bootstrap.confidence, sum(s.images for s in sets), 0.0)
    return C10.judge(parts, missing, missing_control=missing, gates=gates, headline=headline)


@assesses(C11)
def attention_becomes_sparser(data: StudyData) -> Claim:
    """C11: the fall of entropy and the rise of the Gini index, in the shown layer and over all."""
    sets: dict[str, list[SparsitySamples]] = {}
    for samples in sample_sparsity(data):
        sets.setdefault(samples.dataset, []).append(samples)
    parts: list[Measurement] = []
    missing: list[str] = []
    missing_control: list[str] = []
    for name, found in sets.items():
        if found[0].samples.shape[1] == 1:
            missing.append(f"one iteration has nothing to fall from, {name}")
            continue
        parts += [_sparser(data, [part], "stated") for part in found if part.shown and part.source == "first_latents"]
        if len({part.layer for part in found}) == 1:
            missing_control.append(f"maps of one layer only, {name}")
        else:
            groups: dict[tuple[str, str], list[SparsitySamples]] = {}
            for part in found:
                groups.setdefault((part.source, part.measure), []).append(part)
            parts += [_sparser(data, layers, "control") for layers in groups.values()]
        parts += [_sparser(data, [part], None) for part in found if not (part.shown and part.source == "first_latents")]
    return C11.judge(parts, missing, missing_control=[*missing, *missing_control])


@assesses(C18)
def best_thresholds_find_segments(data: StudyData) -> Claim:
    """C18: mIoU with the best share per image, and what it is beyond the same choice for other maps."""
    parts: list[Measurement] = []
    gates: list[Gate] = []
    for samples in sample_overlap(data):
        found, reachable = _best(data, samples)
        parts += found
        gates.append(reachable)
    return C18.judge(parts, gates=gates)


def _rises(data: StudyData, samples: OverlapSamples) -> tuple[list[Measurement], list[Gate]]:
    """Measure the rise as stated and under control, what it consists of, and whether there is room to rise."""
    name, confidence, images = samples.dataset, data.bootstrap.confidence, samples.images
    over = f"over the iterations, mean over {len(samples.pixel_shares)} kept shares, {name}"
    curves = {source: samples.by_iteration(source) for source in ("latents", "first_latents", *CONTROLS)}
    deciding: list[tuple[str, str, np.ndarray, Column]] = [
        ("rise_latents", "latents", curves["latents"], "stated"),
        (
            "rise_above_shuffled",
            "latents minus another image's maps",
            curves["latents"] - curves["shuffled"],
            "control",
        ),
        ("rise_first_latents", "the first iteration's latents alone", curves["first_latents"], "control"),
    ]
    parts = [
        measured(
            f"{key}_{name}",
            f"rise of mIoU (points) of {whose} {over}",
            total_rise(curve),
            confidence,
            images,
            0.0,
            column=column,
            margin=OVERLAP_MARGIN,
        )
        for key, whose, curve, column in deciding
    ]
    for source in CONTROLS:
        words = f"rise of mIoU (points) of {SOURCES[source]} {over}"
        parts.append(measured(f"rise_{source}_{name}", words, total_rise(curves[source]), confidence, images))
    parts += _steps(curves["latents"], confidence, samples)
    for share in samples.pixel_shares:
        own = samples.by_iteration("latents", share=share)
        other = samples.by_iteration("shuffled", share=share)
        fixed = samples.by_iteration("first_latents", share=share)
        each = {"latents": own, "above_shuffled": own - other, "first_latents": fixed}
        for key, curve in each.items():
            whose = SOURCES.get(key, "latents minus another image's maps")
            words = f"rise of mIoU (points) of {whose} over the iterations, {rule_label('pixels', share)}, {name}"
            parts.append(measured(f"rise_{key}_{share:.0%}_{name}", words, total_rise(curve), confidence, images))
    room = samples.by_iteration("masks")[:, 0] - curves["latents"][:, 0]
    words = f"room to rise: mIoU (points) that no map can exceed minus the latents' at the first iteration, {name}"
    guarded = tuple(f"{key}_{name}" for key, *_ in deciding)
    return parts, [gate(f"room_{name}", words, room, confidence, OVERLAP_MARGIN, guards=guarded)]


def _steps(curve: np.ndarray, confidence: float, samples: OverlapSamples) -> list[Measurement]:
    """Measure the rise from each iteration to the next, with intervals that hold for all steps at once."""
    name = samples.dataset
    names = {
        f"step_{before}_to_{before + 1}_{name}": f"rise of mIoU (points) of latents from iteration {before} to "
        f"{before + 1}, mean over the kept shares, {name} (the intervals of all steps hold at once)"
        for before in samples.iterations[:-1]
    }
    return measured_together(names, np.diff(curve, axis=1), confidence, samples.images)


def _leads(data: StudyData, samples: OverlapSamples) -> list[Measurement]:
    """Measure the latents' lead over each control at the last iteration; C10 is about a rise, so none decides."""
    parts = []
    for control in CONTROLS:
        lead = samples.by_iteration("latents")[:, -1] - samples.by_iteration(control)[:, -1]
        words = f"mIoU (points) of latents minus {SOURCES[control]} at the last iteration, mean over the kept shares, "
        key = f"lead_{control}_{samples.dataset}"
        parts.append(measured(key, words + samples.dataset, lead, data.bootstrap.confidence, samples.images))
    return parts


def _sparser(data: StudyData, layers: Sequence[SparsitySamples], column: Column | None) -> Measurement:
    """Measure how much sparser maps become, mean over layers; without a column for comparison."""
    one = layers[0]
    verb = "rise of the Gini index" if one.measure == "gini" else "fall of the entropy (share of the maximum)"
    where = f"layer {one.layer}" if one.layer else "one layer"
    key = f"{one.measure}_{one.source}"
    if column == "control":
        where, key = f"mean over {len(layers)} layers", f"{key}_all_layers"
    elif column is None:
        key = f"{key}_layer_{one.layer}"
    words = f"{verb} of the maps of {SOURCES[one.source]} over the iterations, {where}, {one.dataset}"
    return measured(
        f"{key}_{one.dataset}",
        words,
        pooled(*(part.sparser for part in layers)),
        data.bootstrap.confidence,
        one.images,
        bound=None if column is None else 0.0,
        column=column or "stated",
        margin=None if column is None else SPARSITY_MARGIN,
    )


def _best(data: StudyData, samples: OverlapSamples) -> tuple[list[Measurement], Gate]:
    """Measure mIoU with the best share per image as stated and under control, and whether any map can reach enough."""
    name, confidence, images, last = samples.dataset, data.bootstrap.confidence, samples.images, samples.iterations[-1]

    def best(source: str) -> np.ndarray:
        return samples.of(source, "best", 0.0, last)

    where = f"best share per image, iteration {last}, {name}"
    level = measured(
        f"best_latents_{name}", f"mIoU (%) of latents, {where}", best("latents"), confidence, images, FOUND
    )
    parts = [level]
    for control in CONTROLS:
        decides = control in ("shuffled", "clusters")
        parts.append(
            measured(
                f"best_above_{control}_{name}",
                f"mIoU (points) of latents minus {SOURCES[control]}, {where}",
                best("latents") - best(control),
                confidence,
                images,
                0.0 if decides else None,
                column="control",
                margin=OVERLAP_MARGIN if decides else None,
            )
        )
    reached = 100 * best("latents") / best("masks")
    words = f"mIoU of latents as a share (%) of what no map can exceed, {where}"
    parts.append(measured(f"best_share_of_bound_{name}", words, reached, confidence, images))
    if np.isclose(samples.pixel_shares, PAPERS_SHARE).any():
        for source in ("latents", "shuffled", "random"):
            gain = best(source) - samples.of(source, "pixels", PAPERS_SHARE, last)
            words = f"gain (points) by adjusting the share per image against 40 % kept, {SOURCES[source]}, {name}"
            parts.append(measured(f"best_gain_{source}_{name}", words, gain, confidence, images))
    words = f"mIoU (%) that no map can exceed, {where}"
    return parts, gate(f"reachable_{name}", words, best("masks"), confidence, FOUND, guards=(f"best_latents_{name}",))


CLAIMS = {
    "C10": attention_aligns_with_segments,
    "C11": attention_becomes_sparser,
    "C18": best_thresholds_find_segments,
}
