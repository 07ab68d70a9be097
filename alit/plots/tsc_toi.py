"""Selection criteria against tasks of interest (paper, Fig. 5, 6, 14, 15)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from alit.plots.style import BAND, DASHES, EDGE, GREY, MARKERS, PALETTE, heat, note_figure, panels, style

Limits = Mapping[str, tuple[float, float]]


def task_limits(curves: pd.DataFrame) -> Limits:
    """Return the range of each task over all curves: one colour scale for every panel and figure that shows it."""
    ranges = curves.groupby("toi")["value"].agg(["min", "max"])
    return {str(task): (float(row["min"]), float(row["max"])) for task, row in ranges.iterrows()}


def tasks_under_criterion(curves: pd.DataFrame, criterion: str | None, limits: Limits) -> Figure:
    """Draw one criterion, one panel per task: x = threshold, y = share of tokens, mark colour = task (Fig. 6, 14, 15).

    Args:
        curves: columns tsc, tsc_label, threshold, capacity, capacity_low, capacity_high, images, toi, toi_label,
            better, value.
        criterion: the value of `tsc` to draw; None, or one without rows, gives a note.
        limits: colour scale per task, from `task_limits`.
    """
    part = curves[curves["tsc"] == criterion]
    if part.empty:
        return note_figure(f"not measurable here: no scores for the criterion {criterion or 'of this figure'}")
    with style():
        figure, axes = panels(part["toi"].nunique(), columns=2, height=2.4, sharex=True, sharey=True)
        for panel, (task, line) in zip(axes, part.groupby("toi", sort=False), strict=True):
            marks = _heat_line(panel, line, limits[str(task)])
            panel.set_title(f"TOI: {line['toi_label'].iloc[0]}")
            figure.colorbar(marks, ax=panel, label="darker is better", pad=0.02)
        figure.suptitle(f"TSC: {part['tsc_label'].iloc[0]} (n = {part['images'].iloc[0]})")
        figure.supxlabel(_threshold_name(part))
        figure.supylabel("share of base tokens")
    return figure


def criteria_for_task(curves: pd.DataFrame, task: str, limits: Limits) -> Figure:
    """Draw one task, one panel per criterion, on one colour scale (Fig. 5); the uniform baseline is left out."""
    part = curves[(curves["toi"] == task) & (curves["tsc"] != "uniform")]
    if part.empty:
        return note_figure(f"not measurable here: no scores for the task {task}")
    with style():
        figure, axes = panels(part["tsc"].nunique(), sharey=True)
        for panel, (_, line) in zip(axes, part.groupby("tsc", sort=False), strict=True):
            marks = _heat_line(panel, line, limits[task])
            panel.set_title(f"TSC: {_short(line['tsc_label'].iloc[0])}")
            panel.set_xlabel(_threshold_name(line))
        axes[0].set_ylabel("share of base tokens")
        figure.colorbar(marks, ax=axes, label="darker is better", pad=0.02)
        figure.suptitle(f"TOI: {part['toi_label'].iloc[0]} (n = {part['images'].iloc[0]})")
    return figure


def tasks_by_capacity(curves: pd.DataFrame) -> Figure:
    """Draw each task against capacity, one line per criterion and the uniform baseline; bands are 95 % intervals."""
    criteria = [name for name in curves["tsc"].unique() if name != "uniform"]
    looks = dict(zip(criteria, zip(PALETTE, MARKERS, DASHES, strict=True), strict=False))
    with style():
        figure, axes = panels(curves["toi"].nunique(), columns=2, height=2.3, sharex=True)
        for panel, (_, part) in zip(axes, curves.groupby("toi", sort=False), strict=True):
            for name, line in part.groupby("tsc", sort=False):
                line = line.sort_values("capacity")
                color, marker, dash = looks.get(name, (GREY, "x", "-"))
                look = {"color": color, "marker": marker, "ls": dash, "markersize": 3.5}
                panel.plot(line["capacity"], line["value"], label=line["tsc_label"].iloc[0], **look)
                panel.fill_between(line["capacity"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            arrow = "↓" if part["better"].iloc[0] == "lower" else "↑"
            panel.set_title(f"TOI: {part['toi_label'].iloc[0]} {arrow}")
        for panel in axes[-2:]:
            panel.set_xlabel("share of base tokens")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=2,
            title=f"tokens chosen by (n = {curves['images'].max()})",
        )
    return figure


def tasks_under_criterion_alt(curves: pd.DataFrame, criterion: str | None) -> str:
    """Say how tokens and each task move from the loosest to the strictest threshold."""
    part = curves[curves["tsc"] == criterion]
    if part.empty:
        return "Not measurable here: no scores for this criterion."
    first = part[part["toi"] == part["toi"].iloc[0]].sort_values("capacity")
    changes = []
    for _, line in part.groupby("toi", sort=False):
        ends = line.sort_values("capacity")["value"].iloc[[0, -1]]
        changes.append(f"{line['toi_label'].iloc[0]} from {ends.iloc[0]:.3g} to {ends.iloc[1]:.3g}")
    return (
        f"With tokens chosen by {first['tsc_label'].iloc[0]}, the share of base tokens goes from "
        f"{first['capacity'].iloc[0]:.0%} to {first['capacity'].iloc[-1]:.0%} and {'; '.join(changes)}."
    )


def criteria_for_task_alt(curves: pd.DataFrame, task: str) -> str:
    """Say what range of a task each criterion spans, and with how many tokens."""
    part = curves[(curves["toi"] == task) & (curves["tsc"] != "uniform")]
    if part.empty:
        return "Not measurable here: no scores for this task."
    ranges = [
        f"{line['value'].min():.3g} to {line['value'].max():.3g} with {line['capacity'].min():.0%} to "
        f"{line['capacity'].max():.0%} of base tokens under {line['tsc_label'].iloc[0]}"
        for _, line in part.groupby("tsc", sort=False)
    ]
    return f"{part['toi_label'].iloc[0]}: {'; '.join(ranges)}."


def tasks_by_capacity_alt(curves: pd.DataFrame) -> str:
    """Name the criterion with the best value of each task within the tokens that all criteria reach."""
    low = curves.groupby("tsc")["capacity"].min().max()
    high = curves.groupby("tsc")["capacity"].max().min()
    middle = (low + high) / 2
    best = []
    for _, part in curves.groupby("toi", sort=False):
        values = {
            line["tsc_label"].iloc[0]: np.interp(
                middle, *line.sort_values("capacity")[["capacity", "value"]].to_numpy().T
            )
            for _, line in part.groupby("tsc", sort=False)
        }
        pick = max if part["better"].iloc[0] == "higher" else min
        name = pick(values, key=lambda label: values[label])
        best.append(f"{part['toi_label'].iloc[0]} is best under {name} ({values[name]:.3g})")
    return f"At {middle:.0%} of the base tokens, {'; '.join(best)}."


def _heat_line(panel: Axes, line: pd.DataFrame, limits: tuple[float, float]) -> ScalarMappable:
    """Draw a thin line with marks coloured by the task; bars are intervals of the capacity."""
    line = line.sort_values("threshold")
    reach = np.abs(line[["capacity_low", "capacity_high"]].to_numpy().T - line["capacity"].to_numpy())
    panel.errorbar(line["threshold"], line["capacity"], yerr=reach, color=GREY, lw=0.8, elinewidth=0.8, zorder=1)
    colors = heat(line["better"].iloc[0])
    look = {"c": line["value"], "cmap": colors, "norm": Normalize(*limits), "edgecolors": EDGE, "linewidths": 0.5}
    marks = panel.scatter(line["threshold"], line["capacity"], s=26, zorder=2, **look)
    panel.set_ylim(bottom=0)
    if _is_rank(line):
        panel.set_xticks(line["threshold"], labels=[f"{limit:g}" for limit in line["threshold"]])
    return marks


def _threshold_name(line: pd.DataFrame) -> str:
    return "X" if _is_rank(line) else "threshold"


def _is_rank(line: pd.DataFrame) -> bool:
    return str(line["tsc"].iloc[0]).startswith("class_rank_")


def _short(label: str) -> str:
    return label.replace(" of ", "\nof ") if len(label) > 24 else label
