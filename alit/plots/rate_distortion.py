"""Measures against token count, one line per data set (paper, Fig. 3 right, Tab. 1)."""

import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import BAND, DASHES, MARKERS, PALETTE, note_figure, panels, style


def rate_distortion(rates: pd.DataFrame) -> Figure:
    """Draw one panel per measure; bands are 95 % intervals.

    Args:
        rates: columns dataset, images, length, measure, label, better, value, low, high.
    """
    if rates.empty:
        return note_figure("no measurements")
    names = list(rates["dataset"].unique())
    looks = dict(zip(names, zip(PALETTE, MARKERS, DASHES, strict=True), strict=False))
    with style():
        figure, axes = panels(rates["measure"].nunique(), columns=3)
        for panel, (_, part) in zip(axes, rates.groupby("measure", sort=False), strict=True):
            for name, line in part.groupby("dataset", sort=False):
                color, marker, dash = looks[name]
                label = f"{name} (n = {line['images'].max()})"
                panel.plot(line["length"], line["value"], color=color, marker=marker, ls=dash, label=label)
                panel.fill_between(line["length"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel.set_xscale("log", base=2)
            ticks = sorted(part["length"].unique())
            panel.set_xticks(_doubling(ticks), labels=[str(tick) for tick in _doubling(ticks)])
            panel.set_xticks([], minor=True)
            panel.set_xlabel("tokens")
            arrow = "↓" if part["better"].iloc[0] == "lower" else "↑"
            panel.set_title(f"{part['label'].iloc[0]} {arrow}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def rate_distortion_alt(rates: pd.DataFrame) -> str:
    """Describe the first measure's fall or rise per data set in one sentence."""
    if rates.empty:
        return "No measurements."
    first = rates[rates["measure"] == rates["measure"].iloc[0]]
    changes = []
    for name, line in first.groupby("dataset", sort=False):
        line = line.sort_values("length")
        ends = line.iloc[[0, -1]]
        changes.append(
            f"{name} from {ends['value'].iloc[0]:.3g} at {ends['length'].iloc[0]} tokens to "
            f"{ends['value'].iloc[1]:.3g} at {ends['length'].iloc[1]}"
        )
    return f"Mean {first['label'].iloc[0]} by token count: {'; '.join(changes)}."


def _doubling(lengths: list[int]) -> list[int]:
    """Keep the lengths that are at least 1.4 times the one kept before: labels on a log axis do not touch."""
    kept: list[int] = []
    for length in lengths:
        if not kept or length >= 1.4 * kept[-1]:
            kept.append(int(length))
    return kept
