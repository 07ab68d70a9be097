"""The figure of a study's card: one panel with few words, drawn once for light pages and once for dark ones.

The overview shows it at some 360 x 220 px, at which the figures of a study's page could not be read.
"""

from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from alit.plots.style import BAND, DASHES, MARKERS, Plot, error_bars, evenly, legend_below, note, style

CARD, DARK_CARD = "card", "card_dark"  # names of the two files, without suffix
SIZE = (3.6, 2.2)  # inches: 360 x 220 px of a page at two dots per px
SERIES = 4  # in one panel
TICKS = 5
LABELS = 8.5  # points, 12 px of a page


class PageColors(NamedTuple):
    """What a figure is drawn in, so that it can be read on a page: all differ from the ground by a contrast of 3."""

    ground: str
    ink: str
    quiet: str
    series: tuple[str, ...]


LIGHT = PageColors("#ffffff", "#1d2126", "#626a73", ("#0072B2", "#C04A00", "#007A5A", "#8C5A9E"))
DARK = PageColors("#1d2126", "#e7e5e1", "#9aa3ad", ("#7cc0ee", "#f2a65a", "#5fd0a8", "#d3a4e8"))


class CardFigure(NamedTuple):
    """A study's finding, drawn twice; or, without a title, why there is nothing to draw."""

    light: Plot
    dark: Plot

    def save(self, folder: Path) -> "CardFigure":
        """Write the files `CARD` and `DARK_CARD`, each as PNG and SVG; the finding is their title."""
        self.light.save(folder, CARD)
        self.dark.save(folder, DARK_CARD)
        return self


def no_card(reason: str) -> CardFigure:
    """Return a card without a finding: the reason why there is nothing to draw."""
    plot = note(reason)
    return CardFigure(plot, plot)


def line_card(
    finding: str, table: pd.DataFrame, *, series: str, across: str, x: str, y: str, shares: str = ""
) -> CardFigure:
    """Draw lines with their intervals, the first `SERIES` of them.

    Args:
        finding: what to see, in a sentence.
        table: columns value, low, high and the two below. Intervals are bands, bars where a line has one point only.
            Not empty.
        series: the column that tells lines apart, which come in its order.
        across: the column of places.
        x, y: what is drawn, in few words.
        shares: axes whose numbers are shares and written as per cent: "", "x", "y" or "xy".
    """
    drawn = list(dict.fromkeys(table[series]))[:SERIES]
    lines = table.loc[table[series].isin(drawn)].assign(x=table[across])
    parts = [(str(name), part.sort_values("x")) for name, part in lines.groupby(series, sort=False)]

    def draw(panel: Axes, colors: PageColors) -> None:
        for (name, part), color, marker, dash in zip(parts, colors.series, MARKERS, DASHES, strict=False):
            places = part["x"].to_numpy(dtype=float)
            panel.plot(places, part["value"], color=color, marker=marker, ls=dash, label=name)
            if len(part) > 1:
                panel.fill_between(places, part["low"], part["high"], color=color, alpha=BAND, lw=0)
            else:
                panel.errorbar(places, part["value"].to_numpy(), yerr=error_bars(part), fmt="none", ecolor=color)
        panel.set_xlabel(x)
        panel.locator_params(axis="y", nbins=TICKS)
        places = lines["x"].to_numpy(dtype=float)
        if (places == places.round()).all():  # lengths and iterations: those that there are
            panel.set_xticks(evenly(places, TICKS))
        else:
            panel.locator_params(axis="x", nbins=TICKS)

    seen = [f"{name} {_ends(part, x, shares)}" for name, part in parts]
    return _card(finding, f"Lines with 95 % intervals, {y} against {x}: {'; '.join(seen)}.", y, shares, draw)


def interval_card(finding: str, rows: pd.DataFrame, *, x: str, reference: float, shares: str = "") -> CardFigure:
    """Draw a mark with its interval for each row, one below the other.

    Args:
        finding: what to see, in a sentence.
        rows: columns row, value, low, high, and series (of one look), in order. Not empty.
        x: what is drawn, in few words.
        reference: where a line stands for "nothing".
        shares: "x" where numbers are shares and written as per cent.
    """
    names = list(dict.fromkeys(rows["series"]))

    def draw(panel: Axes, colors: PageColors) -> None:
        panel.axvline(reference, color=colors.quiet, lw=0.8)
        places = -np.arange(len(rows))
        for name, color, marker in zip(names, colors.series, MARKERS, strict=False):
            here = (rows["series"] == name).to_numpy(dtype=bool)
            part = rows.loc[here]
            look = {"fmt": marker, "color": color, "capsize": 2, "label": name if len(names) > 1 else None}
            panel.errorbar(part["value"].to_numpy(), places[here], xerr=error_bars(part), **look)
        labels = ["\n".join(wrap(str(row), 20, break_long_words=False)) for row in rows["row"]]
        panel.set_yticks(places, labels=labels)
        panel.set_ylim(0.5 - len(rows), 0.5)
        panel.locator_params(axis="x", nbins=TICKS - 1)

    records = rows.to_dict("records")
    seen = [f"{each['row']} {_interval(each['value'], each['low'], each['high'], 'x' in shares)}" for each in records]
    return _card(finding, f"Marks with 95 % intervals, {x}: {'; '.join(seen)}.", x, shares, draw)


def _card(finding: str, alt: str, title: str, shares: str, draw: Callable[[Axes, PageColors], None]) -> CardFigure:
    plots = []
    for colors in (LIGHT, DARK):
        with style(), mpl.rc_context(_look(colors)):
            figure = Figure(figsize=SIZE, layout="constrained")
            panel = figure.subplots()
            draw(panel, colors)
            figure.suptitle(title, x=0.01, ha="left")
            # Ticks are made when a figure is saved, by which time other settings are in force.
            panel.tick_params(colors=colors.ink, labelsize=LABELS)
            for axis, name in ((panel.xaxis, "x"), (panel.yaxis, "y")):
                if name in shares:
                    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
            legend_below(figure, panel, "outside lower left")
        plots.append(Plot(figure, alt, finding))
    return CardFigure(*plots)


def _look(colors: PageColors) -> dict[Any, Any]:
    return {
        "figure.facecolor": colors.ground,
        "axes.facecolor": colors.ground,
        "axes.edgecolor": colors.quiet,
        "axes.labelcolor": colors.ink,
        "text.color": colors.ink,
        "figure.titlesize": 9.5,
        "axes.labelsize": 9,
        "xtick.labelsize": LABELS,
        "ytick.labelsize": LABELS,
        "legend.fontsize": LABELS,
        "legend.labelcolor": colors.ink,
        "legend.columnspacing": 1.2,
        "legend.handlelength": 1.8,
        "lines.linewidth": 1.6,
    }


def _ends(line: pd.DataFrame, x: str, shares: str) -> str:
    """Say where a line begins and ends."""
    words = []
    for row in (line.iloc[0], line.iloc[-1]):
        place = f"{row['x']:.0%}" if "x" in shares else f"{row['x']:.4g}"
        words.append(f"{_interval(row['value'], row['low'], row['high'], 'y' in shares)} at {place}")
    return words[0] if len(line) == 1 else " to ".join(words)


def _interval(value: float, low: float, high: float, share: bool) -> str:
    if share:
        return f"{value:.1%} [{low:.1%}, {high:.1%}]"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
