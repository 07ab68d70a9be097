"""Variants of a training against each other: error against tokens, computation and bits, and paired changes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alit.plots.style import (
    BAND,
    GRAY,
    MARKERS,
    PALETTE,
    distinct,
    ends,
    groups,
    looks_of_series,
    most,
    note_figure,
    panel_title,
    panels,
    reach,
    rows,
    style,
    word,
)

NOTHING = "not measurable here: no variants were trained"


def one_pass_or_many(rates: pd.DataFrame) -> Figure:
    """Draw mean L1 against tokens and against the operations of encoding; bands are 95 % intervals.

    Args:
        rates: columns series, length, seeds, images, value, low, high, encode_gflop.
    """
    if rates.empty:
        return note_figure(NOTHING)
    with style():
        figure, axes = panels(2, columns=2, height=3.0, sharey=True)
        for panel, column in zip(axes, ("length", "encode_gflop"), strict=True):
            for (name, line), look in zip(groups(rates, "series"), looks_of_series(), strict=False):
                _draw(panel, line.sort_values("length"), column, f"{name} ({_trainings(line)})", look)
        lengths = sorted({int(length) for length in rates["length"].to_numpy()})
        axes[0].set_xscale("log", base=2)
        axes[0].set_xticks(_apart(lengths), labels=[str(length) for length in _apart(lengths)])
        axes[0].minorticks_off()
        axes[0].set_xlabel("tokens")
        axes[1].set_xlabel("GFLOP to encode one image")
        axes[0].set_ylabel(f"mean L1 error (n = {most(rates, 'images')})")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def one_pass_or_many_alt(rates: pd.DataFrame) -> str:
    """Say where each series starts and ends."""
    if rates.empty:
        return f"{NOTHING.capitalize()}."
    words = []
    for name, line in groups(rates, "series"):
        start, end = ends(line, "value", by="length")
        low, high = ends(line, "length", by="length")
        words.append(f"{name} {start:.3g} at {low:.0f} tokens" + (f" to {end:.3g} at {high:.0f}" if high > low else ""))
    return f"Mean L1 error by tokens and by the operations of encoding: {'; '.join(words)}."


def paired_changes(comparisons: pd.DataFrame) -> Figure:
    """Draw by how much each change lowers the error, one panel per measure; bars are 95 % intervals.

    Args:
        comparisons: columns factor, variant, than, measure, label, seeds, images, value, low, high.
    """
    if comparisons.empty:
        return note_figure(NOTHING)
    asked = list(dict.fromkeys(zip(comparisons["factor"], comparisons["variant"], comparisons["than"], strict=True)))
    ticks = [f"{factor}:\n{variant} rather than {than}" for factor, variant, than in asked]
    with style():
        count = distinct(comparisons, "measure")
        figure, axes = panels(count, columns=count, height=1.1 + 0.36 * len(asked), sharey=True)
        for panel, (_, part) in zip(axes, groups(comparisons, "measure"), strict=True):
            keys = list(zip(part["factor"], part["variant"], part["than"], strict=True))
            places = [-asked.index(key) for key in keys]
            values = part["value"].to_numpy()
            panel.errorbar(values, places, xerr=reach(part), fmt=MARKERS[0], color=PALETTE[0], lw=1, markersize=4)
            panel.axvline(0, color=GRAY, lw=0.8)
            panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel_title(panel, f"{word(part, 'label')}, n = {most(part, 'images')}", 24)
            panel.set_xlabel("lower by (right is better)")
        axes[0].set_yticks([-place for place in range(len(asked))], labels=ticks)
        axes[0].set_ylim(-len(asked) + 0.5, 0.5)
    return figure


def paired_changes_alt(comparisons: pd.DataFrame) -> str:
    """Say each change of L1 with its interval."""
    if comparisons.empty:
        return f"{NOTHING.capitalize()}."
    first = rows(comparisons, comparisons["measure"] == word(comparisons, "measure"))
    words = [
        f"{variant} rather than {than} {value:+.1%} [{low:+.1%}, {high:+.1%}]"
        for variant, than, value, low, high in first[["variant", "than", "value", "low", "high"]].to_numpy()
    ]
    return f"Share by which {word(first, 'label')} is lower: {'; '.join(words)}."


def _draw(
    panel: Axes, line: pd.DataFrame, column: str, label: str, look: tuple[str, str, str | tuple[int, tuple[float, ...]]]
) -> None:
    """Draw one series with its interval: a band, or a bar where it has one point."""
    color, marker, dash = look
    places = line[column].to_numpy(dtype=float)
    panel.plot(places, line["value"], color=color, marker=marker, ls=dash, label=label)
    if len(line) > 1 and np.ptp(places) > 0:
        panel.fill_between(places, line["low"], line["high"], color=color, alpha=BAND, lw=0)
    else:
        panel.errorbar(places, line["value"].to_numpy(), yerr=reach(line), fmt="none", ecolor=color, lw=1)


def _trainings(line: pd.DataFrame) -> str:
    count = most(line, "seeds")
    return "1 training" if count == 1 else f"{count} trainings"


def _apart(lengths: list[int]) -> list[int]:
    """Keep the lengths that are at least 1.4 times the one kept before: labels on a log axis do not touch."""
    kept: list[int] = []
    for length in lengths:
        if not kept or length >= 1.4 * kept[-1]:
            kept.append(length)
    return kept
