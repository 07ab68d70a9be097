"""Loss and selected length of scenes in which one factor of complexity varies."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alit.plots.style import MARKERS, PALETTE, note_figure, panel_title, panels, sequence, style
from alit.plots.tables import distinct, evenly, groups, most, numbers, reach, rows

LINES = 4  # lengths in one panel
NOTHING = "not measurable here: no controlled scenes"


def controlled_complexity(levels: pd.DataFrame) -> Figure:
    """Draw a column per factor: mean L1 at a few lengths above, mean selected length below; bars are 95 % intervals.

    Args:
        levels: columns dataset (factor), images (scenes), kind, setting, complexity (level), value, low, high.
    """
    if levels.empty:
        return note_figure(NOTHING)
    losses, lengths = (rows(levels, levels["kind"] == kind) for kind in ("loss", "length"))
    factors = distinct(levels, "dataset")
    with style():
        figure, axes = panels(2 * factors, columns=factors, height=2.0, sharex=True, sharey="row")
        for panel, (name, part) in zip(axes, groups(losses, "dataset"), strict=False):
            shown = evenly(numbers(part, "setting"), LINES)
            for setting, color, marker in zip(shown, sequence(len(shown)), MARKERS, strict=False):
                _line(panel, rows(part, part["setting"] == setting), color, marker, f"L1 with {setting:g} tokens")
            panel_title(panel, f"{name} (n = {most(part, 'images')} scenes)")
        for panel, (_, part) in zip(axes[factors:], groups(lengths, "dataset"), strict=True):
            limit = numbers(part, "setting")[0]
            _line(panel, part, PALETTE[0], "X", f"length under L1 < {limit:g}")
            panel.set_xlabel("level")
        axes[0].set_ylabel("mean L1 error")
        axes[factors].set_ylabel("mean length (tokens)")
        found = [panel.get_legend_handles_labels() for panel in (axes[0], axes[factors])]
        handles, labels = ([*above, *below] for above, below in zip(*found, strict=True))
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def controlled_complexity_alt(rises: pd.DataFrame) -> str:
    """Say how the selected length of the same scenes changes from the lowest to the highest level of each factor.

    Args:
        rises: columns dataset, images, kind, setting, value, low, high.
    """
    if rises.empty:
        return f"{NOTHING.capitalize()}."
    part = rows(rises, rises["kind"] == "length")
    changes = [
        f"{value:+.2g} [{low:.2g}, {high:.2g}] with {factor}"
        for factor, value, low, high in part[["dataset", "value", "low", "high"]].itertuples(index=False)
    ]
    limit = numbers(part, "setting")[0]
    return f"Tokens under L1 < {limit:g}, highest minus lowest level of the same scenes: {'; '.join(changes)}."


def _line(panel: Axes, line: pd.DataFrame, color: str | tuple[float, ...], marker: str, label: str) -> None:
    look = {"color": color, "marker": marker, "capsize": 1.5, "elinewidth": 0.8, "label": label}
    panel.errorbar(line["complexity"].to_numpy(), line["value"].to_numpy(), yerr=reach(line), **look)
