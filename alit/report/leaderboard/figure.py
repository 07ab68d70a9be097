"""The picture of a leaderboard: what each tokenizer gives for its bits."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from alit.analysis.grid import metric_info
from alit.plots.style import BAND, PALETTE, Plot, arrow_of, looks_of_series, note, panel_title, panels, style
from alit.report.leaderboard.result_file import ResultFile

PANELS = 3  # measures that are drawn


def rate_points(results: Sequence[ResultFile], columns: Sequence[str]) -> pd.DataFrame:
    """Return the points of the picture: columns tokenizer, images, bits, measure, value, low, high."""
    rows = [
        (each.tokenizer, each.images, each.rate_of(length), name, number.value, number.low, number.high)
        for each in results
        for length in each.lengths
        for name in columns
        if (number := length.scores.get(name)) is not None
    ]
    return pd.DataFrame(rows, columns=["tokenizer", "images", "bits", "measure", "value", "low", "high"])


def rate_distortion(points: pd.DataFrame) -> Plot:
    """Draw one panel per measure over bits per image, one line per tokenizer, one dot where it has one length.

    As soon as colors begin again, markers are hollow.
    """
    if points.empty:
        return note("no measurements")
    measures, names = list(points["measure"].unique())[:PANELS], list(points["tokenizer"].unique())
    drawn = {}
    with style():
        figure, axes = panels(len(measures), columns=3, height=2.9)
        for panel, measure in zip(axes, measures, strict=True):
            for place, (name, (color, marker, _)) in enumerate(zip(names, looks_of_series(), strict=False)):
                line = points.loc[(points["measure"] == measure) & (points["tokenizer"] == name)].sort_values("bits")
                if line.empty:
                    continue
                turn = place // len(PALETTE)
                look: dict[str, Any] = {
                    "color": color,
                    "marker": marker,
                    "markerfacecolor": "white" if turn else color,
                    "ls": "-:"[turn % 2],
                }
                (drawn[name],) = panel.plot(line["bits"], line["value"], **look)
                panel.fill_between(
                    line["bits"], line["low"].astype(float), line["high"].astype(float), color=color, alpha=BAND, lw=0
                )
            described = metric_info(measure)
            panel.set_xscale("log", base=2)
            panel.set_xlabel("bits per image")
            panel_title(panel, f"{described.label}{arrow_of(described.better)}")
        figure.legend([*drawn.values()], [*drawn], loc="outside lower center", ncols=min(len(drawn), 6))
    first = points.loc[points["measure"] == measures[0]]
    ends = []
    for name in names:
        line = first.loc[first["tokenizer"] == name].sort_values("bits")
        ends.append(f"{name} {line['value'].iat[-1]:.3g} at {line['bits'].iat[-1]:.0f} bits")
    return Plot(figure, f"{metric_info(measures[0]).label} by bits per image: {'; '.join(ends)}.")
