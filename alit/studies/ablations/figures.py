"""Variants of a training against each other: error against tokens, computation and bits, and paired changes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from alit.plots.card import SERIES, CardFigure, line_card, no_card
from alit.plots.style import (
    BAND,
    GRAY,
    MARKERS,
    PALETTE,
    Plot,
    error_bars,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

NOTHING = "not measurable here: no variants were trained"
PAIR = ["factor", "variant", "than"]  # columns that name one comparison


def one_pass_or_many(rates: pd.DataFrame) -> Plot:
    """Draw mean L1 against tokens and against the operations of encoding; bands are 95 % intervals.

    Args:
        rates: columns series, length, seeds, images, value, low, high, encode_gflop.
    """
    if rates.empty:
        return note(NOTHING)
    series = [(name, line.sort_values("length")) for name, line in rates.groupby("series", sort=False)]
    with style():
        figure, axes = panels(2, columns=2, height=3.0, sharey=True)
        for panel, column in zip(axes, ("length", "encode_gflop"), strict=True):
            for (name, line), look in zip(series, looks_of_series(), strict=False):
                count = int(line["seeds"].to_numpy().max())
                label = f"{name} ({'1 training' if count == 1 else f'{count} trainings'})"
                _draw(panel, line, column, label, look)
        ticks = _apart(sorted(set(rates["length"])))
        axes[0].set_xscale("log", base=2)
        axes[0].set_xticks(ticks, labels=[str(length) for length in ticks])
        axes[0].minorticks_off()
        axes[0].set_xlabel("tokens")
        axes[1].set_xlabel("GFLOP to encode one image")
        axes[0].set_ylabel(f"mean L1 error ({sample_size(rates)})")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    words = []
    for name, line in series:
        first, last = line.iloc[0], line.iloc[-1]
        longer = f" to {last['value']:.3g} at {last['length']}" if last["length"] > first["length"] else ""
        words.append(f"{name} {first['value']:.3g} at {first['length']} tokens{longer}")
    return Plot(figure, f"Mean L1 error by tokens and by the operations of encoding: {'; '.join(words)}.")


def paired_changes(comparisons: pd.DataFrame) -> Plot:
    """Draw by how much each change lowers the error, one panel per measure; bars are 95 % intervals.

    Args:
        comparisons: columns factor, variant, than, measure, label, seeds, images, value, low, high.
    """
    if comparisons.empty:
        return note(NOTHING)
    pairs = list(comparisons[PAIR].drop_duplicates().itertuples(index=False, name=None))
    ticks = [f"{factor}:\n{variant} rather than {than}" for factor, variant, than in pairs]
    with style():
        count = len(comparisons["measure"].unique())
        figure, axes = panels(count, columns=count, height=1.1 + 0.36 * len(pairs), sharey=True)
        for panel, (_, part) in zip(axes, comparisons.groupby("measure", sort=False), strict=True):
            places = [-pairs.index(pair) for pair in part[PAIR].itertuples(index=False, name=None)]
            values = part["value"].to_numpy()
            panel.errorbar(values, places, xerr=error_bars(part), fmt=MARKERS[0], color=PALETTE[0], lw=1, markersize=4)
            panel.axvline(0, color=GRAY, lw=0.8)
            panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel_title(panel, f"{part['label'].iloc[0]}, {sample_size(part)}", 24)
            panel.set_xlabel("lower by (right is better)")
        axes[0].set_yticks([-place for place in range(len(pairs))], labels=ticks)
        axes[0].set_ylim(-len(pairs) + 0.5, 0.5)
    first = comparisons.loc[comparisons["measure"] == comparisons["measure"].iloc[0]]
    words = [
        f"{row['variant']} rather than {row['than']} {row['value']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}]"
        for row in first.to_dict("records")
    ]
    return Plot(figure, f"Share by which {first['label'].iloc[0]} is lower: {'; '.join(words)}.")


def changes_by_length(comparisons: pd.DataFrame) -> Plot:
    """Draw by how much each change lowers the error at each length, one panel per measure; bands are 95 % intervals.

    Args:
        comparisons: columns as in `paired_changes`, and length, a row for each.
    """
    if comparisons.empty:
        return note("not measurable here: no pair of trainings of this profile differs in this respect")
    ends = []
    with style():
        count = len(comparisons["measure"].unique())
        figure, axes = panels(count, columns=count, height=2.8, sharey=True)
        for panel, (_, part) in zip(axes, comparisons.groupby("measure", sort=False), strict=True):
            named = part["variant"] + " rather than " + part["than"]
            for (label, line), look in zip(part.groupby(named, sort=False), looks_of_series(), strict=False):
                ordered = line.sort_values("length")
                _draw(panel, ordered, "length", str(label), look)
                first, last = ordered.iloc[0], ordered.iloc[-1]
                ends.append(
                    f"{part['label'].iloc[0]}, {label}: {first['value']:+.1%} at {first['length']} tokens, "
                    f"{last['value']:+.1%} at {last['length']}"
                )
            panel.axhline(0, color=GRAY, lw=0.8)
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel_title(panel, f"{part['label'].iloc[0]}, {sample_size(part)}", 40)
            panel.set_xlabel("tokens")
        axes[0].set_ylabel("lower by (up is better)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2))
    return Plot(figure, f"Share by which the error is lower, by length: {'; '.join(ends)}.")


def card(rates: pd.DataFrame) -> CardFigure:
    """Draw mean L1 by length of the recurrent and the one-pass trainings, for the study's card.

    Args:
        rates: see `one_pass_or_many`.
    """
    if rates.empty:
        return no_card(NOTHING)
    names = list(dict.fromkeys(rates["series"]))[:SERIES]
    shown = rates.loc[rates["series"].isin(names)]
    lengths = shown.groupby("length")["series"].nunique()
    length = lengths.loc[lengths == lengths.max()].index.max()  # the longest that most of them have
    at = shown.loc[shown["length"] == length]
    found = ", ".join(f"{name} {value:.3g}" for name, value in zip(at["series"], at["value"], strict=True))
    return line_card(
        f"Mean L1 with {length} tokens: {found}.",
        shown,
        series="series",
        across="length",
        x="tokens",
        y=f"mean L1 error\u00a0↓ ({sample_size(shown)})",
    )


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
        panel.errorbar(places, line["value"].to_numpy(), yerr=error_bars(line), fmt="none", ecolor=color, lw=1)


def _apart(lengths: list[int]) -> list[int]:
    """Keep the lengths that are at least 1.4 times the one kept before: labels on a log axis do not touch."""
    kept: list[int] = []
    for length in lengths:
        if not kept or length >= 1.4 * kept[-1]:
            kept.append(length)
    return kept
