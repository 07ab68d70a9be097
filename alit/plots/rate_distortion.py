"""Measures against token count, one line per data set (paper, Fig. 3 right, Tab. 1)."""

import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import BAND, looks_of_series, note_figure, panel_title, panels, style
from alit.plots.tables import distinct, ends, groups, most, rows, word


def rate_distortion(rates: pd.DataFrame) -> Figure:
    """Draw one panel per measure; bands are 95 % intervals.

    Args:
        rates: columns dataset, images, length, measure, label, better, value, low, high.
    """
    if rates.empty:
        return note_figure("no measurements")
    names = [name for name, _ in groups(rates, "dataset")]
    looks = dict(zip(names, looks_of_series(), strict=False))
    with style():
        figure, axes = panels(distinct(rates, "measure"), columns=3)
        for panel, (_, part) in zip(axes, groups(rates, "measure"), strict=True):
            for name, line in groups(part, "dataset"):
                color, marker, dash = looks[name]
                label = f"{name} (n = {most(line, 'images')})"
                panel.plot(line["length"], line["value"], color=color, marker=marker, ls=dash, label=label)
                panel.fill_between(line["length"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel.set_xscale("log", base=2)
            ticks = sorted({int(length) for length in part["length"].to_numpy()})
            panel.set_xticks(_doubling(ticks), labels=[str(tick) for tick in _doubling(ticks)])
            panel.set_xticks([], minor=True)
            panel.set_xlabel("tokens")
            arrow = "↓" if word(part, "better") == "lower" else "↑"
            panel_title(panel, f"{word(part, 'label')} {arrow}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def rate_distortion_alt(rates: pd.DataFrame) -> str:
    """Describe the first measure's fall or rise per data set in one sentence."""
    if rates.empty:
        return "No measurements."
    first = rows(rates, rates["measure"] == word(rates, "measure"))
    changes = []
    for name, line in groups(first, "dataset"):
        start, end = ends(line, "value", by="length")
        changes.append(
            f"{name} from {start:.3g} at {line['length'].min()} tokens to {end:.3g} at {line['length'].max()}"
        )
    return f"Mean {word(first, 'label')} by token count: {'; '.join(changes)}."


def _doubling(lengths: list[int]) -> list[int]:
    """Keep the lengths that are at least 1.4 times the one kept before: labels on a log axis do not touch."""
    kept: list[int] = []
    for length in lengths:
        if not kept or length >= 1.4 * kept[-1]:
            kept.append(int(length))
    return kept
