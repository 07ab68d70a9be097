"""Curves of a training log, for the report's training page."""

import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import GREY, PALETTE, note_figure, panels, style

SMOOTHING = 25  # logged rows in the running median; short logs use a fifth of theirs


def training_curves(log: pd.DataFrame, title: str = "") -> Figure:
    """Draw each logged number against the step: grey as logged, blue its running median.

    A panel whose numbers are all positive and span more than a factor of ten is on a log scale.

    Args:
        log: a column `step` and one numeric column per logged name; rows in order.
        title: of the whole figure.
    """
    names = _logged(log)
    if not names:
        return note_figure("nothing was logged")
    window = max(1, min(SMOOTHING, len(log) // 5))
    with style():
        figure, axes = panels(len(names), columns=4, height=1.7, sharex=True)
        for panel, name in zip(axes, names, strict=True):
            line = log[["step", name]].dropna()
            panel.plot(line["step"], line[name], color=GREY, lw=0.5, alpha=0.7)
            smooth = line[name].rolling(window, min_periods=1, center=True).median()
            panel.plot(line["step"], smooth, color=PALETTE[0], lw=1.2)
            if line[name].min() > 0 and line[name].max() > 10 * line[name].min():
                panel.set_yscale("log")
            panel.set_title(name.replace("_", " "))
            panel.locator_params(axis="x", nbins=4)
        figure.supxlabel("step")
        if title:
            figure.suptitle(title)
    return figure


def training_curves_alt(log: pd.DataFrame, title: str = "") -> str:
    """Say where each logged number starts and ends."""
    names = _logged(log)
    if not names:
        return "Nothing was logged."
    changes = [
        f"{name.replace('_', ' ')} {log[name].dropna().iloc[0]:.3g} to {log[name].dropna().iloc[-1]:.3g}"
        for name in names
    ]
    head = f"{title}: f" if title else "F"
    return f"{head}rom step {log['step'].iloc[0]} to {log['step'].iloc[-1]}, {', '.join(changes)}."


def _logged(log: pd.DataFrame) -> list[str]:
    numeric = log.select_dtypes("number").columns
    return [name for name in numeric if name != "step" and log[name].notna().any()]
