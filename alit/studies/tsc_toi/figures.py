"""Selection criteria against tasks of interest (paper, Fig. 5, 6, 14, 15)."""

from collections.abc import Mapping
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from alit.analysis.selection import own_column
from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import (
    BAND,
    EDGE,
    GRAY,
    MARKERS,
    PALETTE,
    Plot,
    arrow_of,
    error_bars,
    heat,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

Limits = Mapping[str, tuple[float, float]]


def task_limits(curves: pd.DataFrame) -> Limits:
    """Return the range of each task over all curves: one color scale for every panel and figure that shows it."""
    values = {str(task): part["value"].to_numpy(dtype=float) for task, part in curves.groupby("toi", sort=False)}
    return {task: (float(scores.min()), float(scores.max())) for task, scores in values.items()}


def criteria_for_task(curves: pd.DataFrame, task: str, limits: Limits) -> Plot:
    """Draw one task, one panel per criterion, on one color scale (Fig. 5); the uniform baseline is left out.

    Args:
        curves: see `tasks_under_criterion`.
        task: the value of `toi` to draw; one without rows gives a note.
        limits: color scale per task, from `task_limits`.
    """
    part = curves.loc[(curves["toi"] == task) & (curves["tsc"] != "uniform")]
    if part.empty:
        return note(f"not measurable here: no scores for the task {task}")
    label, ranges = part["toi_label"].iat[0], []
    with style():
        figure, axes = panels(len(part["tsc"].unique()), sharey=True)
        for panel, (_, line) in zip(axes, part.groupby("tsc", sort=False), strict=True):
            marks = _heat_line(panel, line, limits[task])
            panel_title(panel, f"TSC: {line['tsc_label'].iat[0]}")
            panel.set_xlabel(_threshold_name(line))
            value, spent = line["value"], line["capacity"]
            reached = f"{value.min():.3g} to {value.max():.3g} with {spent.min():.0%} to {spent.max():.0%}"
            ranges.append(f"{reached} of the most tokens under {line['tsc_label'].iat[0]}")
        figure.supylabel("share of the most tokens")
        figure.colorbar(marks, ax=axes, label="darker is better", pad=0.02)
        figure.suptitle(f"TOI: {label} ({sample_size(part)})")
    return Plot(figure, f"{label}: {'; '.join(ranges)}.")


def tasks_under_criterion(curves: pd.DataFrame, criterion: str | None, limits: Limits) -> Plot:
    """Draw one criterion, one panel per task: x = threshold, y = share of tokens, mark color = task (Fig. 6, 14, 15).

    Args:
        curves: columns tsc, tsc_label, threshold, capacity, capacity_low, capacity_high, images, toi, toi_label,
            better, value.
        criterion: the value of `tsc` to draw; None, or one without rows, gives a note.
        limits: color scale per task, from `task_limits`.
    """
    part = curves.loc[curves["tsc"] == criterion]
    if part.empty:
        return note(f"not measurable here: no scores for the criterion {criterion or 'of this figure'}")
    label, spent, changes = part["tsc_label"].iat[0], part["capacity"], []
    with style():
        figure, axes = panels(len(part["toi"].unique()), columns=2, height=2.4, sharex=True, sharey=True)
        for panel, (task, line) in zip(axes, part.groupby("toi", sort=False), strict=True):
            marks = _heat_line(panel, line, limits[str(task)])
            panel_title(panel, f"TOI: {line['toi_label'].iat[0]}", 36)
            figure.colorbar(marks, ax=panel, label="darker is better", pad=0.02)
            values = line.sort_values("capacity")["value"]
            changes.append(f"{line['toi_label'].iat[0]} from {values.iat[0]:.3g} to {values.iat[-1]:.3g}")
        figure.suptitle(f"TSC: {label} ({sample_size(part)})")
        figure.supxlabel(_threshold_name(part))
        figure.supylabel("share of the most tokens")
    spending = f"the share of the most tokens goes from {spent.min():.0%} to {spent.max():.0%}"
    return Plot(figure, f"With tokens chosen by {label}, {spending} and {'; '.join(changes)}.")


def tasks_by_capacity(curves: pd.DataFrame, best: pd.DataFrame) -> Plot:
    """Draw each task against capacity, one line per criterion and the uniform baseline; bands are 95 % intervals.

    Args:
        curves: see `tasks_under_criterion`, with low and high.
        best: the best possible allocation of each task that has one, columns alike; drawn dotted, without marks.
    """
    criteria = [name for name, _ in curves.groupby("tsc", sort=False) if name != "uniform"]
    looks = dict(zip(criteria, looks_of_series(), strict=False))
    with style():
        figure, axes = panels(len(curves["toi"].unique()), columns=2, height=2.3, sharex=True)
        for panel, (task, part) in zip(axes, curves.groupby("toi", sort=False), strict=True):
            for name, line in part.groupby("tsc", sort=False):
                line = line.sort_values("capacity")
                color, marker, dash = looks.get(name, (GRAY, "x", "-"))
                look = {"color": color, "marker": marker, "ls": dash, "markersize": 3.5}
                panel.plot(line["capacity"], line["value"], label=line["tsc_label"].iat[0], **look)
                panel.fill_between(line["capacity"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            line = best.loc[best["toi"] == task].sort_values("capacity")
            if len(line):
                look = {"color": EDGE, "ls": (0, (1, 1)), "label": line["tsc_label"].iat[0]}
                panel.plot(line["capacity"], line["value"], **look)
            panel_title(panel, f"TOI: {part['toi_label'].iat[0]}{arrow_of(part['better'].iat[0])}", 46)
        for panel in axes[-2:]:
            panel.set_xlabel("share of the most tokens")
        handles, labels = axes[0].get_legend_handles_labels()
        title = f"tokens chosen by ({sample_size(curves)})"
        figure.legend(handles, labels, loc="outside lower center", ncols=2, title=title)
    return Plot(figure, _best_at_middle(curves))


def card(curves: pd.DataFrame, best: pd.DataFrame, task: str) -> CardFigure:
    """Draw a task against capacity under four ways of choosing lengths, for the study's card.

    Args:
        curves, best: see `tasks_by_capacity`.
        task: the value of `toi` to draw.
    """
    rows = curves.loc[curves["toi"] == task]
    if rows.empty:
        return no_card(f"not measurable here: no scores for the task {task}")
    chosen = pd.concat([rows.loc[rows["tsc"] == name] for name in ("l1", own_column(task), "uniform")])
    lines = pd.concat([chosen, best.loc[best["toi"] == task]])
    label, middle = rows["toi_label"].iat[0], _middle(chosen)
    found = ", ".join(f"{value:.3g} with {name}" for name, value in _values_at(chosen, middle).items())
    return line_card(
        f"At {middle:.0%} of the most tokens, {label} is {found}.",
        lines,
        series="tsc_label",
        across="capacity",
        x=f"share of the most tokens ({sample_size(rows)})",
        y=f"{label}{arrow_of(rows['better'].iat[0])}",
        shares="x",
    )


def _best_at_middle(curves: pd.DataFrame) -> str:
    """Name the criterion with the best value of each task at the middle of the tokens that all criteria reach."""
    middle, best = _middle(curves), []
    for _, part in curves.groupby("toi", sort=False):
        values = _values_at(part, middle)
        name = (max if part["better"].iat[0] == "higher" else min)(values, key=values.__getitem__)
        best.append(f"{part['toi_label'].iat[0]} is best under {name} ({values[name]:.3g})")
    return f"At {middle:.0%} of the most tokens, {'; '.join(best)}."


def _middle(curves: pd.DataFrame) -> float:
    """Return the middle of the capacities that all criteria reach."""
    spent = [line["capacity"].to_numpy(dtype=float) for _, line in curves.groupby("tsc", sort=False)]
    return float(max(each.min() for each in spent) + min(each.max() for each in spent)) / 2


def _values_at(part: pd.DataFrame, capacity: float) -> dict[str, float]:
    """Return the value of one task at a capacity by criterion, interpolated between thresholds."""
    lines = [line.sort_values("capacity") for _, line in part.groupby("tsc", sort=False)]
    return {line["tsc_label"].iat[0]: float(np.interp(capacity, line["capacity"], line["value"])) for line in lines}


def oracle_gaps(gains: pd.DataFrame) -> Plot:
    """Draw the share of each criterion, one panel per task; lines at 0 (uniform) and 1 (oracle), bars 95 % intervals.

    Args:
        gains: columns tsc, tsc_label, toi, toi_label, own (drawn as a square), images, possible, value, low, high.
    """
    if gains.empty:
        return note("not measurable here: no task has anything to gain from choosing lengths")
    criteria, found = list(dict.fromkeys(gains["tsc_label"])), []
    with style():
        height = 0.8 + 0.38 * len(criteria)
        figure, axes = panels(len(gains["toi"].unique()), columns=2, height=height, sharex=True, sharey=True)
        for panel, (_, part) in zip(axes, gains.groupby("toi", sort=False), strict=True):
            for end in (0, 1):
                panel.axvline(end, color=GRAY, lw=0.8, ls="-" if end == 0 else (0, (1, 1)))
            for own in map(bool, part["own"].unique()):
                dots = part.loc[part["own"] == own]
                places = [-criteria.index(label) for label in dots["tsc_label"]]
                look = {"fmt": MARKERS[own], "color": PALETTE[own], "lw": 1, "markersize": 4}
                panel.errorbar(dots["value"].to_numpy(), places, xerr=error_bars(dots), **look)
            labels = ["\n".join(wrap(label, 25, break_long_words=False)) for label in criteria]
            panel.set_yticks([-place for place in range(len(criteria))], labels=labels)
            panel_title(panel, f"TOI: {part['toi_label'].iat[0]}")
            best, itself = part.iloc[int(part["value"].argmax())], part.loc[part["own"]]
            first = f"its own criterion {itself['value'].iat[0]:.0%}, " if len(itself) else ""
            found.append(f"{part['toi_label'].iat[0]}: {first}most {best['tsc_label']} with {best['value']:.0%}")
        figure.supxlabel(
            f"share of the possible gain ({sample_size(gains)})\n"
            "0: same length for all; 1: oracle\n"
            "square: chosen by the task itself"
        )
    alt = "Share of the possible gain over the same length for all that is realized"
    return Plot(figure, f"{alt}, {'; '.join(found)}.")


def _heat_line(panel: Axes, line: pd.DataFrame, limits: tuple[float, float]) -> ScalarMappable:
    """Draw a thin line with marks colored by the task; bars are intervals of the capacity."""
    line = line.sort_values("threshold")
    thresholds, spent = line["threshold"].to_numpy(), line["capacity"].to_numpy()
    bars = error_bars(line, "capacity", "capacity_low", "capacity_high")
    panel.errorbar(thresholds, spent, yerr=bars, color=GRAY, lw=0.8, elinewidth=0.8, zorder=1)
    colors = heat(line["better"].iat[0])
    look = {"c": line["value"], "cmap": colors, "norm": Normalize(*limits), "edgecolors": EDGE, "linewidths": 0.5}
    marks = panel.scatter(thresholds, spent, s=26, zorder=2, **look)
    panel.set_ylim(bottom=0)
    if _is_rank(line):
        panel.set_xscale("log")
        panel.set_xticks([], minor=True)
        panel.set_xticks(thresholds, labels=[f"{limit:g}" for limit in thresholds])
    return marks


def _threshold_name(line: pd.DataFrame) -> str:
    return "X (log scale)" if _is_rank(line) else "threshold"


def _is_rank(line: pd.DataFrame) -> bool:
    return line["tsc"].iat[0].startswith("class_rank_")
