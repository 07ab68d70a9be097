"""Measures against token count, one line per data set, or against bits (paper, Fig. 3 right, Tab. 1)."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import (
    BAND,
    PALETTE,
    Plot,
    evenly,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

THRESHOLDS = 4  # panels of `selected_lengths`


def rate_distortion(rates: pd.DataFrame) -> Plot:
    """Draw one panel per measure; bands are 95 % intervals.

    Args:
        rates: columns dataset, images, length, measure, label, better, value, low, high.
    """
    if rates.empty:
        return note("no measurements")
    with style():
        figure, axes = _measures(rates, "dataset", "length")
        for panel, (_, part) in zip(axes, rates.groupby("measure", sort=False), strict=True):
            panel.set_xscale("log", base=2)
            ticks = _doubling(sorted({int(length) for length in part["length"].to_numpy()}))
            panel.set_xticks(ticks, labels=[str(tick) for tick in ticks])
            panel.set_xticks([], minor=True)
            panel.set_xlabel("tokens")
    first = rates.loc[rates["measure"] == rates["measure"].iat[0]]
    changes = []
    for name, line in first.groupby("dataset", sort=False):
        line = line.sort_values("length")
        few, many = (f"{line['value'].iat[end]:.3g} at {line['length'].iat[end]}" for end in (0, -1))
        changes.append(f"{name} from {few} tokens to {many}")
    return Plot(figure, f"Mean {first['label'].iat[0]} by token count: {'; '.join(changes)}.")


def rate_distortion_by_bits(rates: pd.DataFrame) -> Plot:
    """Draw one panel per measure, one line per tokenizer; bands are 95 % intervals.

    Args:
        rates: columns tokenizer, bits, images, measure, label, better, value, low, high; one data set.
    """
    if rates.empty:
        return note("no measurements")
    with style():
        figure, axes = _measures(rates, "tokenizer", "bits")
        for panel in axes:
            panel.set_xscale("log")
            panel.set_xlabel("bits per image")
    first = rates.loc[rates["measure"] == rates["measure"].iat[0]]
    ranges = []
    for name, line in first.groupby("tokenizer", sort=False):
        line = line.sort_values("bits")
        few, many = (f"{line['value'].iat[end]:.3g} at {line['bits'].iat[end]:.0f}" for end in (0, -1))
        ranges.append(f"{name} from {few} to {many}")
    return Plot(figure, f"Mean {first['label'].iat[0]} by bits per image: {'; '.join(ranges)}.")


def selected_lengths(counts: pd.DataFrame) -> Plot:
    """Draw the share of images by selected length, one panel per threshold; hatched images satisfy it at no length.

    Args:
        counts: columns threshold, length, images, share, unsatisfied.
    """
    if counts.empty:
        return note("not measurable here: no thresholds")
    chosen, means = _informative(counts), []
    with style():
        figure, axes = panels(len(chosen), columns=4, height=2.0, sharey=True)
        for panel, threshold in zip(axes, chosen, strict=True):
            part = counts.loc[counts["threshold"] == threshold]
            places, never = np.arange(len(part)), part["unsatisfied"].to_numpy()
            met = part["share"].to_numpy() - never
            panel.bar(places, met, color=PALETTE[0])
            look = {"color": "white", "edgecolor": PALETTE[5], "hatch": "////", "lw": 0.8}
            drawn = never > 0
            panel.bar(places[drawn], never[drawn], bottom=met[drawn], **look)
            step = max(1, len(part) // 4)
            ticks = places[::-step][::-1]
            panel.set_xticks(ticks, labels=[str(length) for length in part["length"].to_numpy()[ticks]])
            panel.set_title(f"L1 < {threshold:g}")
            panel.set_xlabel("tokens")
            mean = (part["length"] * part["share"]).sum()
            means.append(f"{mean:.3g} tokens at L1 < {threshold:g} ({never.sum():.0%} never satisfied)")
        axes[0].set_ylabel("share of images")
        images = counts.loc[counts["threshold"] == chosen[0]]["images"].sum()
        figure.suptitle(f"n = {images:,}; hatched: the longest length, which does not satisfy either")
    return Plot(figure, f"Mean selected length: {'; '.join(means)}.")


def card(rates: pd.DataFrame, dataset: str) -> CardFigure:
    """Draw mean L1 by length of a data set and of some others, for the study's card.

    Args:
        rates: see `rate_distortion`.
        dataset: comes first, and in the finding.
    """
    rows = rates.loc[rates["measure"] == "l1"]
    if dataset not in set(rows["dataset"]):
        return no_card("no measurements")
    own = rows.loc[rows["dataset"] == dataset].sort_values("length")
    few, many = (f"{own['value'].iat[end]:.3g} with {own['length'].iat[end]}" for end in (0, -1))
    return line_card(
        f"Mean L1 on {dataset} goes from {few} tokens to {many}.",
        pd.concat([own, rows.loc[rows["dataset"] != dataset]]),
        series="dataset",
        across="length",
        x="tokens",
        y=f"mean L1 error\u00a0↓ ({sample_size(own)})",
    )


def _measures(rates: pd.DataFrame, series: str, across: str) -> tuple[Figure, list[Axes]]:
    """Draw a panel per measure and a line per value of `series` over `across`; call inside `style()`."""
    looks = dict(zip(rates[series].unique(), looks_of_series(), strict=False))
    figure, axes = panels(len(rates["measure"].unique()), columns=3)
    named: dict[str, Artist] = {}
    for panel, (_, part) in zip(axes, rates.groupby("measure", sort=False), strict=True):
        for name, line in part.groupby(series, sort=False):
            color, marker, dash = looks[name]
            label = f"{name} ({sample_size(line)})"
            (drawn,) = panel.plot(line[across], line["value"], color=color, marker=marker, ls=dash)
            panel.fill_between(line[across], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            named.setdefault(label, drawn)
        arrow = "↓" if part["better"].iat[0] == "lower" else "↑"
        panel_title(panel, f"{part['label'].iat[0]} {arrow}")
    figure.legend([*named.values()], [*named], loc="outside lower center", ncols=min(len(named), 3))
    return figure, axes


def _doubling(lengths: list[int]) -> list[int]:
    """Keep the lengths that are at least 1.4 times the one kept before: labels on a log axis do not touch."""
    kept: list[int] = []
    for length in lengths:
        if not kept or length >= 1.4 * kept[-1]:
            kept.append(int(length))
    return kept


def _informative(counts: pd.DataFrame) -> list[float]:
    """Choose at most `THRESHOLDS` thresholds, evenly over those at which not all images get the same length."""
    largest = {threshold: part["share"].to_numpy().max() for threshold, part in counts.groupby("threshold", sort=False)}
    between = [threshold for threshold, share in largest.items() if share < 0.98]
    return evenly(np.array(between or list(largest)), THRESHOLDS)
