"""Dots with intervals in rows: many statistics of one scale, one panel per data set."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import GREY, MARKERS, PALETTE, panel_title, panels, style
from alit.plots.tables import distinct, groups, most, reach, rows

ROW = 0.15  # inches


def dot_panels(table: pd.DataFrame, row: str, series: str, xlabel: str, reference: float) -> Figure:
    """Draw one panel per data set, a line of dots per value of `row`, a look per value of `series`.

    Series that share rows lie above each other within a row and are named below the panels.

    Args:
        table: columns dataset, images, value, low, high, and those that `row` and `series` name; not empty.
        row, series: columns of words, in order of first appearance.
        xlabel: what the values are.
        reference: where a grey line stands for "nothing".
    """
    names, looks = (list(dict.fromkeys(table[column])) for column in (row, series))
    shared = bool(table.duplicated(["dataset", row]).any())
    spread = np.linspace(0.28, -0.28, len(looks)) if shared else np.zeros(len(looks))
    with style():
        height = 0.8 + ROW * len(names) * (1 + 0.5 * shared * (len(looks) - 1))
        count = distinct(table, "dataset")
        columns = 2 if count == 4 else 3  # no row of one panel
        figure, axes = panels(count, columns=columns, height=height, sharex=True, sharey=True)
        for panel, (name, part) in zip(axes, groups(table, "dataset"), strict=True):
            for number, look in enumerate(looks):
                dots = rows(part, part[series] == look)
                places = [spread[number] - names.index(word) for word in dots[row]]
                drawn = {"fmt": MARKERS[number % 6], "color": PALETTE[number % 6], "lw": 1, "markersize": 3.5}
                panel.errorbar(dots["value"].to_numpy(), places, xerr=reach(dots), label=look, **drawn)
            panel.axvline(reference, color=GREY, lw=0.8)
            panel.set_yticks([-i for i in range(len(names))], labels=names)
            panel_title(panel, f"{name} (n = {most(part, 'images')})")
            panel.set_xlabel(xlabel)
        if shared:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure
