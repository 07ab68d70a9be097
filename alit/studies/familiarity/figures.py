"""What unfamiliar images lose at few tokens, and how well their cost tells them apart (paper, section 4)."""

import pandas as pd

from alit.plots.card import CardFigure, interval_card, no_card
from alit.plots.style import (
    GRAY,
    MARKERS,
    PALETTE,
    Plot,
    dot_panels,
    error_bars,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

CONTROLS = ("codec", "training images")  # kinds of detectors that are no cost of an image


def familiarity_gaps(gaps: pd.DataFrame) -> Plot:
    """Draw a panel per measure: the value at few tokens minus that at the most, by data set; bars are 95 % intervals.

    Args:
        gaps: columns dataset, images, measure, label, length (the few tokens), value, low, high; sets in order. A
            measure that takes fewer images of a set than the first one does takes as many of each.
    """
    if gaps.empty:
        return note("not measurable here: only one length")
    counts = gaps.drop_duplicates("dataset").set_index("dataset")["images"]
    names, quarter, changes = list(counts.index), gaps["length"].max(), []
    with style():
        height = 0.7 + 0.25 * len(names)
        figure, axes = panels(len(gaps["measure"].unique()), columns=2, height=height, sharey=True)
        for panel, (_, part) in zip(axes, gaps.groupby("measure", sort=False), strict=True):
            for number, (length, line) in enumerate(part.groupby("length", sort=False)):
                places = [0.12 * (1 - 2 * number) - names.index(name) for name in line["dataset"]]
                look = {"fmt": MARKERS[number], "color": PALETTE[number], "lw": 1, "markersize": 3.5}
                panel.errorbar(
                    line["value"].to_numpy(), places, xerr=error_bars(line), label=f"{length:g} tokens", **look
                )
                if length == quarter:
                    values = zip(line["dataset"], line["value"], strict=True)
                    listed = ", ".join(f"{value:.3g} on {name}" for name, value in values)
                    changes.append(f"{part['label'].iat[0]} {listed}")
            panel.axvline(0, color=GRAY, lw=0.8)
            panel.locator_params(axis="x", nbins=4)
            fewer = part.loc[part["images"] != counts.reindex(part["dataset"]).to_numpy()]
            taken = f" ({sample_size(fewer)})" if len(fewer) else ""
            panel_title(panel, f"{part['label'].iat[0]}{taken}", 38)
        labels = [f"{name} (n = {count:,})" for name, count in counts.items()]
        axes[0].set_yticks([-i for i in range(len(names))], labels=labels)
        axes[0].set_ylim(0.5 - len(names), 0.5)
        figure.suptitle("excess at few tokens over the longest length")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return Plot(figure, f"Excess at {quarter} tokens over the longest length: {'; '.join(changes)}.")


def card(gaps: pd.DataFrame) -> CardFigure:
    """Draw what each set loses in L1 at the larger number of few tokens, for the study's card.

    Args:
        gaps: see `familiarity_gaps`.
    """
    if gaps.empty:
        return no_card("not measurable here: only one length")
    few = gaps["length"].max()
    rows = gaps.loc[(gaps["measure"] == "l1") & (gaps["length"] == few)]
    least, most = (rows.sort_values("value").iloc[end] for end in (0, -1))
    ends = f"from {least['value']:.3g} on {least['dataset']} to {most['value']:.3g} on {most['dataset']}"
    return interval_card(
        f"What {few} tokens lose in L1 against the longest length goes {ends}.",
        rows.assign(
            row=[f"{name} (n = {n:,})" for name, n in zip(rows["dataset"], rows["images"], strict=True)], series=""
        ),
        x=f"excess of L1 at {few} tokens over the most",
        reference=0,
    )


def within_sets(correlations: pd.DataFrame) -> Plot:
    """Draw, by set, how an image's distance from the training images and its code surprisal go with what it costs.

    Args:
        correlations: columns dataset, images, measure, outcome, given, value, low, high; those of the last `given` of a
            set are drawn, which holds most fixed.
    """
    if correlations.empty:
        return note("not measurable here: the sweep knows no training images, or the tokenizer has one length")
    most = correlations.groupby("dataset", sort=False)["given"].transform("last")
    drawn = correlations.loc[correlations["given"] == most]
    given = str(most.iat[0])
    figure = dot_panels(drawn, "outcome", "measure", "Spearman", 0.0)
    with style():
        figure.suptitle(f"given {given}", wrap=True)
    found = []
    for (name, measure), part in drawn.groupby(["dataset", "measure"], sort=False):
        found.append(f"{name}, {measure} {part['value'].iat[0]:.2f} with the {part['outcome'].iat[0]}")
    return Plot(figure, f"Rank correlations given {given}: {'; '.join(found)}.")


def detection(areas: pd.DataFrame) -> Plot:
    """Draw the AUROC of each detector, one panel per unfamiliar set; bars are 95 % intervals, 0.5 is chance.

    Args:
        areas: columns dataset, images, familiar (in-distribution images), kind, predictor, value, low, high.
    """
    if areas.empty:
        return note("not measurable here: no other set")
    familiar, found = areas["familiar"].iat[0], []
    figure = dot_panels(areas, "predictor", "kind", "AUROC", 0.5)
    with style():
        figure.suptitle(f"against in-distribution images (n = {familiar:,})")
    for name, part in areas.groupby("dataset", sort=False):
        best = part.loc[~part["kind"].isin(CONTROLS)].sort_values("value", ascending=False).iloc[0]
        codecs = part.loc[part["kind"] == "codec"]["value"]
        compared = f", codec bytes {codecs.max():.2f}" if len(codecs) else ""
        known = part.loc[part["kind"] == "training images"]
        compared += "".join(f", {row.predictor} {row.value:.2f}" for row in known.itertuples())
        found.append(f"{name} by {best['predictor']} {best['value']:.2f}{compared}")
    return Plot(figure, f"AUROC against {familiar} in-distribution images, best detector: {'; '.join(found)}.")
