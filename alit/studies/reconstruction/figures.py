"""Measures against token count, one line per data set, or against bits (paper, Fig. 3 right, Tab. 1)."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alit.plots.style import (
    BAND,
    PALETTE,
    distinct,
    ends,
    evenly,
    groups,
    looks_of_series,
    most,
    note_figure,
    numbers,
    panel_title,
    panels,
    rows,
    style,
    word,
)


def rate_distortion(rates: pd.DataFrame) -> Figure:
    """Draw one panel per measure; bands are 95 % intervals.

    Args:
        rates: columns dataset, images, length, measure, label, better, value, low, high.
    """
    if rates.empty:
        return note_figure("no measurements")
    with style():
        figure, axes = _measures(rates, "dataset", "length")
        for panel, (_, part) in zip(axes, groups(rates, "measure"), strict=True):
            panel.set_xscale("log", base=2)
            ticks = _doubling(sorted({int(length) for length in part["length"].to_numpy()}))
            panel.set_xticks(ticks, labels=[str(tick) for tick in ticks])
            panel.set_xticks([], minor=True)
            panel.set_xlabel("tokens")
    return figure


def rate_distortion_by_bits(rates: pd.DataFrame) -> Figure:
    """Draw one panel per measure, one line per tokenizer; bands are 95 % intervals.

    Args:
        rates: columns tokenizer, bits, images, measure, label, better, value, low, high; one data set.
    """
    if rates.empty:
        return note_figure("no measurements")
    with style():
        figure, axes = _measures(rates, "tokenizer", "bits")
        for panel in axes:
            panel.set_xscale("log")
            panel.set_xlabel("bits per image")
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


def rate_distortion_by_bits_alt(rates: pd.DataFrame) -> str:
    """Describe the range of bits and of the first measure per tokenizer."""
    if rates.empty:
        return "No measurements."
    first = rows(rates, rates["measure"] == word(rates, "measure"))
    ranges = []
    for name, line in groups(first, "tokenizer"):
        start, end = ends(line, "value", by="bits")
        spent = line["bits"].to_numpy()
        ranges.append(f"{name} from {start:.3g} at {spent.min():.0f} to {end:.3g} at {spent.max():.0f}")
    return f"Mean {word(first, 'label')} by bits per image: {'; '.join(ranges)}."


def _measures(rates: pd.DataFrame, series: str, across: str) -> tuple[Figure, list[Axes]]:
    """Draw a panel per measure and a line per value of `series` over `across`; call inside `style()`."""
    looks = dict(zip((name for name, _ in groups(rates, series)), looks_of_series(), strict=False))
    figure, axes = panels(distinct(rates, "measure"), columns=3)
    named: dict[str, Artist] = {}
    for panel, (_, part) in zip(axes, groups(rates, "measure"), strict=True):
        for name, line in groups(part, series):
            color, marker, dash = looks[name]
            label = f"{name} (n = {most(line, 'images')})"
            (drawn,) = panel.plot(line[across], line["value"], color=color, marker=marker, ls=dash)
            panel.fill_between(line[across], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            named.setdefault(label, drawn)
        arrow = "↓" if word(part, "better") == "lower" else "↑"
        panel_title(panel, f"{word(part, 'label')} {arrow}")
    figure.legend([*named.values()], [*named], loc="outside lower center", ncols=min(len(named), 3))
    return figure, axes


def _doubling(lengths: list[int]) -> list[int]:
    """Keep the lengths that are at least 1.4 times the one kept before: labels on a log axis do not touch."""
    kept: list[int] = []
    for length in lengths:
        if not kept or length >= 1.4 * kept[-1]:
            kept.append(int(length))
    return kept


PANELS = 4


def selected_lengths(counts: pd.DataFrame) -> Figure:
    """Draw the share of images by selected length, one panel per threshold; hatched images satisfy it at no length.

    Args:
        counts: columns threshold, length, images, share, unsatisfied.
    """
    if counts.empty:
        return note_figure("not measurable here: no thresholds")
    total = int(numbers(counts, "images").sum() / distinct(counts, "threshold"))
    with style():
        chosen = _telling(counts)
        figure, axes = panels(len(chosen), columns=4, height=2.0, sharey=True)
        for panel, threshold in zip(axes, chosen, strict=True):
            part = rows(counts, counts["threshold"] == threshold)
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
        axes[0].set_ylabel("share of images")
        figure.suptitle(f"n = {total}; hatched: the longest length, which does not satisfy either")
    return figure


def selected_lengths_alt(counts: pd.DataFrame) -> str:
    """Say the mean length and the share never satisfied at each shown threshold."""
    if counts.empty:
        return "Not measurable here: no thresholds."
    words = []
    for threshold in _telling(counts):
        part = rows(counts, counts["threshold"] == threshold)
        mean = (part["length"] * part["share"]).sum()
        words.append(f"{mean:.3g} tokens at L1 < {threshold:g} ({part['unsatisfied'].sum():.0%} never satisfied)")
    return f"Mean selected length: {'; '.join(words)}."


def _telling(counts: pd.DataFrame) -> list[float]:
    """Choose at most `PANELS` thresholds, evenly over those at which not all images get the same length."""
    largest = {threshold: numbers(part, "share").max() for threshold, part in groups(counts, "threshold")}
    telling = [threshold for threshold, share in largest.items() if share < 0.98]
    return evenly(np.array(telling or list(largest)), PANELS)
