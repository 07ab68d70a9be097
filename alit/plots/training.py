"""Curves of a training log, for the report's training page."""

import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from alit.plots.style import GRAY, PALETTE, Plot, note, panel_title, panels, style

SMOOTHING = 9  # logged rows in the running median, few enough to keep a jump of the schedule; short logs use a fifth


def training_curves(log: pd.DataFrame, title: str = "") -> Plot:
    """Draw each logged number against the step: gray as logged, blue its running median.

    A panel whose numbers are all positive and span more than a factor of ten is on a log scale.

    Args:
        log: a column `step` and one numeric column per logged name; rows in order.
        title: what was trained, for the description.
    """
    names = _logged(log)
    if not names:
        return note("nothing was logged")
    window, changes = max(1, min(SMOOTHING, len(log) // 5)), []
    with style():
        figure, axes = panels(len(names), columns=4, height=1.7, sharex=True)
        for panel, name in zip(axes, names, strict=True):
            line = log.loc[log[name].notna()]
            panel.plot(line["step"], line[name], color=GRAY, lw=0.5, alpha=0.7)
            smooth = line[name].rolling(window, min_periods=1, center=True).median()
            panel.plot(line["step"], smooth, color=PALETTE[0], lw=1.2)
            low, high = line[name].to_numpy().min(), line[name].to_numpy().max()
            if 0 < 10 * low < high:
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_formatter(NullFormatter())
            words = name.replace("_", " ")
            panel_title(panel, words, 22)
            panel.locator_params(axis="x", nbins=4)
            changes.append(f"{words} {line[name].iat[0]:.3g} to {line[name].iat[-1]:.3g}")
        figure.supxlabel("step")
    steps = f"rom step {log['step'].min()} to {log['step'].max()}"
    return Plot(figure, f"{f'{title}: f' if title else 'F'}{steps}, {', '.join(changes)}.")


def _logged(log: pd.DataFrame) -> list[str]:
    numeric = log.select_dtypes("number")
    return [str(name) for name in numeric if name != "step" and bool(numeric[name].notna().any())]
