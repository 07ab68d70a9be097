"""What unfamiliar images lose at few tokens, and how well their cost tells them apart (paper, section 4)."""

import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import (
    GRAY,
    MARKERS,
    PALETTE,
    distinct,
    dot_panels,
    groups,
    most,
    note_figure,
    numbers,
    panel_title,
    panels,
    reach,
    rows,
    style,
    word,
)


def familiarity_gaps(gaps: pd.DataFrame) -> Figure:
    """Draw a panel per measure: the value at few tokens minus that at the most, by data set; bars are 95 % intervals.

    Args:
        gaps: columns dataset, images, measure, label, length (the few tokens), value, low, high; sets in order. A
            measure that takes fewer images of a set than the first one does takes as many of each.
    """
    if gaps.empty:
        return note_figure("not measurable here: only one length")
    counts = gaps.drop_duplicates("dataset").set_index("dataset")["images"]
    names = list(counts.index)
    with style():
        figure, axes = panels(distinct(gaps, "measure"), columns=2, height=0.7 + 0.25 * len(names), sharey=True)
        for panel, (_, part) in zip(axes, groups(gaps, "measure"), strict=True):
            for number, (length, line) in enumerate(groups(part, "length")):
                places = [0.12 * (1 - 2 * number) - names.index(name) for name in line["dataset"]]
                look = {"fmt": MARKERS[number], "color": PALETTE[number], "lw": 1, "markersize": 3.5}
                panel.errorbar(numbers(line, "value"), places, xerr=reach(line), label=f"{length:g} tokens", **look)
            panel.axvline(0, color=GRAY, lw=0.8)
            fewer = rows(part, part["images"] != counts.reindex(part["dataset"]).to_numpy())
            taken = f" (n = {most(fewer, 'images')})" if len(fewer) else ""
            panel_title(panel, f"{word(part, 'label')}{taken}", 38)
        labels = [f"{name} (n = {count})" for name, count in counts.items()]
        axes[0].set_yticks([-i for i in range(len(names))], labels=labels)
        axes[0].set_ylim(0.5 - len(names), 0.5)
        figure.suptitle("excess at few tokens over the longest length")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def familiarity_gaps_alt(gaps: pd.DataFrame) -> str:
    """Say each measure's gap at the most of the few tokens, set by set."""
    if gaps.empty:
        return "Not measurable here: only one length."
    length = int(numbers(gaps, "length").max())
    changes = []
    for _, part in groups(rows(gaps, gaps["length"] == length), "measure"):
        values = [f"{value:.3g} on {name}" for name, value in zip(part["dataset"], part["value"], strict=True)]
        changes.append(f"{word(part, 'label')} {', '.join(values)}")
    return f"Excess at {length} tokens over the longest length: {'; '.join(changes)}."


def detection(areas: pd.DataFrame) -> Figure:
    """Draw the AUROC of each detector, one panel per unfamiliar set; bars are 95 % intervals, 0.5 is chance.

    Args:
        areas: columns dataset, images, familiar (in-distribution images), kind, predictor, value, low, high.
    """
    if areas.empty:
        return note_figure("not measurable here: no other set")
    familiar = int(numbers(areas, "familiar")[0])
    figure = dot_panels(areas, "predictor", "kind", "AUROC", 0.5)
    with style():
        figure.suptitle(f"against in-distribution images (n = {familiar})")
    return figure


def detection_alt(areas: pd.DataFrame) -> str:
    """Name the best detector of each set, and what its codec bytes reach."""
    if areas.empty:
        return "Not measurable here: no other set."
    found = []
    for name, part in groups(areas, "dataset"):
        ranked = rows(part, part["kind"] != "codec").sort_values("value", ascending=False)
        codecs = numbers(rows(part, part["kind"] == "codec"), "value")
        beside = f", codec bytes {codecs.max():.2f}" if len(codecs) else ""
        found.append(f"{name} by {word(ranked, 'predictor')} {ranked['value'].to_numpy()[0]:.2f}{beside}")
    familiar = int(numbers(areas, "familiar")[0])
    return f"AUROC against {familiar} in-distribution images, best detector: {'; '.join(found)}."
