"""Selection criteria against tasks of interest (paper, Fig. 5, 6, 14, 15)."""

from collections.abc import Mapping
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from alit.plots.style import (
    BAND,
    EDGE,
    GRAY,
    MARKERS,
    PALETTE,
    arrow_of,
    distinct,
    ends,
    groups,
    heat,
    looks_of_series,
    most,
    note_figure,
    numbers,
    panel_title,
    panels,
    reach,
    rows,
    style,
    word,
)

Limits = Mapping[str, tuple[float, float]]


def task_limits(curves: pd.DataFrame) -> Limits:
    """Return the range of each task over all curves: one color scale for every panel and figure that shows it."""
    values = {str(task): part["value"].to_numpy(dtype=float) for task, part in groups(curves, "toi")}
    return {task: (float(scores.min()), float(scores.max())) for task, scores in values.items()}


def tasks_under_criterion(curves: pd.DataFrame, criterion: str | None, limits: Limits) -> Figure:
    """Draw one criterion, one panel per task: x = threshold, y = share of tokens, mark color = task (Fig. 6, 14, 15).

    Args:
        curves: columns tsc, tsc_label, threshold, capacity, capacity_low, capacity_high, images, toi, toi_label,
            better, value.
        criterion: the value of `tsc` to draw; None, or one without rows, gives a note.
        limits: color scale per task, from `task_limits`.
    """
    part = rows(curves, curves["tsc"] == criterion)
    if part.empty:
        return note_figure(f"not measurable here: no scores for the criterion {criterion or 'of this figure'}")
    with style():
        figure, axes = panels(distinct(part, "toi"), columns=2, height=2.4, sharex=True, sharey=True)
        for panel, (task, line) in zip(axes, groups(part, "toi"), strict=True):
            marks = _heat_line(panel, line, limits[str(task)])
            panel_title(panel, f"TOI: {word(line, 'toi_label')}", 46)
            figure.colorbar(marks, ax=panel, label="darker is better", pad=0.02)
        figure.suptitle(f"TSC: {word(part, 'tsc_label')} (n = {most(part, 'images')})")
        figure.supxlabel(_threshold_name(part))
        figure.supylabel("share of the most tokens")
    return figure


def criteria_for_task(curves: pd.DataFrame, task: str, limits: Limits) -> Figure:
    """Draw one task, one panel per criterion, on one color scale (Fig. 5); the uniform baseline is left out."""
    part = rows(curves, (curves["toi"] == task) & (curves["tsc"] != "uniform"))
    if part.empty:
        return note_figure(f"not measurable here: no scores for the task {task}")
    with style():
        figure, axes = panels(distinct(part, "tsc"), sharey=True)
        for panel, (_, line) in zip(axes, groups(part, "tsc"), strict=True):
            marks = _heat_line(panel, line, limits[task])
            panel_title(panel, f"TSC: {word(line, 'tsc_label')}")
            panel.set_xlabel(_threshold_name(line))
        figure.supylabel("share of the most tokens")
        figure.colorbar(marks, ax=axes, label="darker is better", pad=0.02)
        figure.suptitle(f"TOI: {word(part, 'toi_label')} (n = {most(part, 'images')})")
    return figure


def tasks_by_capacity(curves: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """Draw each task against capacity, one line per criterion and the uniform baseline; bands are 95 % intervals.

    Args:
        curves: see `tasks_under_criterion`, with low and high.
        best: the best possible allocation of each task that has one, columns alike; drawn dotted, without marks.
    """
    criteria = [name for name, _ in groups(curves, "tsc") if name != "uniform"]
    looks = dict(zip(criteria, looks_of_series(), strict=False))
    with style():
        figure, axes = panels(distinct(curves, "toi"), columns=2, height=2.3, sharex=True)
        for panel, (task, part) in zip(axes, groups(curves, "toi"), strict=True):
            for name, line in groups(part, "tsc"):
                line = line.sort_values("capacity")
                color, marker, dash = looks.get(name, (GRAY, "x", "-"))
                look = {"color": color, "marker": marker, "ls": dash, "markersize": 3.5}
                panel.plot(line["capacity"], line["value"], label=word(line, "tsc_label"), **look)
                panel.fill_between(line["capacity"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            line = rows(best, best["toi"] == task).sort_values("capacity")
            if len(line):
                look = {"color": EDGE, "ls": (0, (1, 1)), "label": word(line, "tsc_label")}
                panel.plot(line["capacity"], line["value"], **look)
            panel_title(panel, f"TOI: {word(part, 'toi_label')}{arrow_of(word(part, 'better'))}", 46)
        for panel in axes[-2:]:
            panel.set_xlabel("share of the most tokens")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=2,
            title=f"tokens chosen by (n = {most(curves, 'images')})",
        )
    return figure


def tasks_under_criterion_alt(curves: pd.DataFrame, criterion: str | None) -> str:
    """Say how tokens and each task move from the loosest to the strictest threshold."""
    part = rows(curves, curves["tsc"] == criterion)
    if part.empty:
        return "Not measurable here: no scores for this criterion."
    changes = []
    for _, line in groups(part, "toi"):
        start, end = ends(line, "value", by="capacity")
        changes.append(f"{word(line, 'toi_label')} from {start:.3g} to {end:.3g}")
    return (
        f"With tokens chosen by {word(part, 'tsc_label')}, the share of the most tokens goes from "
        f"{part['capacity'].min():.0%} to {part['capacity'].max():.0%} and {'; '.join(changes)}."
    )


def criteria_for_task_alt(curves: pd.DataFrame, task: str) -> str:
    """Say what range of a task each criterion spans, and with how many tokens."""
    part = rows(curves, (curves["toi"] == task) & (curves["tsc"] != "uniform"))
    if part.empty:
        return "Not measurable here: no scores for this task."
    ranges = [
        f"{line['value'].min():.3g} to {line['value'].max():.3g} with {line['capacity'].min():.0%} to "
        f"{line['capacity'].max():.0%} of the most tokens under {word(line, 'tsc_label')}"
        for _, line in groups(part, "tsc")
    ]
    return f"{word(part, 'toi_label')}: {'; '.join(ranges)}."


def tasks_by_capacity_alt(curves: pd.DataFrame) -> str:
    """Name the criterion with the best value of each task at the middle of the tokens that all criteria reach."""
    ranges = [line["capacity"].to_numpy(dtype=float) for _, line in groups(curves, "tsc")]
    middle = (max(spent.min() for spent in ranges) + min(spent.max() for spent in ranges)) / 2
    best = []
    for _, part in groups(curves, "toi"):
        values = {word(line, "tsc_label"): _value_at(line, middle) for _, line in groups(part, "tsc")}
        pick = max if word(part, "better") == "higher" else min
        name = pick(values, key=lambda label: values[label])
        best.append(f"{word(part, 'toi_label')} is best under {name} ({values[name]:.3g})")
    return f"At {middle:.0%} of the most tokens, {'; '.join(best)}."


def _heat_line(panel: Axes, line: pd.DataFrame, limits: tuple[float, float]) -> ScalarMappable:
    """Draw a thin line with marks colored by the task; bars are intervals of the capacity."""
    line = line.sort_values("threshold")
    thresholds, spent = line["threshold"].to_numpy(), line["capacity"].to_numpy()
    bars = reach(line, "capacity", "capacity_low", "capacity_high")
    panel.errorbar(thresholds, spent, yerr=bars, color=GRAY, lw=0.8, elinewidth=0.8, zorder=1)
    colors = heat(word(line, "better"))
    look = {"c": line["value"], "cmap": colors, "norm": Normalize(*limits), "edgecolors": EDGE, "linewidths": 0.5}
    marks = panel.scatter(thresholds, spent, s=26, zorder=2, **look)
    panel.set_ylim(bottom=0)
    if _is_rank(line):
        panel.set_xscale("log")
        panel.set_xticks([], minor=True)
        panel.set_xticks(thresholds, labels=[f"{limit:g}" for limit in thresholds])
    return marks


def _value_at(line: pd.DataFrame, capacity: float) -> float:
    points = line.sort_values("capacity")[["capacity", "value"]].to_numpy(dtype=float)
    return float(np.interp(capacity, points[:, 0], points[:, 1]))


def _threshold_name(line: pd.DataFrame) -> str:
    return "X (log scale)" if _is_rank(line) else "threshold"


def _is_rank(line: pd.DataFrame) -> bool:
    return word(line, "tsc").startswith("class_rank_")


NOTHING = "not measurable here: no task has anything to gain from choosing lengths"


def oracle_gaps(gains: pd.DataFrame) -> Figure:
    """Draw the share of each criterion, one panel per task; lines at 0 (uniform) and 1 (oracle), bars 95 % intervals.

    Args:
        gains: columns tsc, tsc_label, toi, toi_label, own (drawn as a square), images, possible, value, low, high.
    """
    if gains.empty:
        return note_figure(NOTHING)
    criteria = list(dict.fromkeys(gains["tsc_label"]))
    with style():
        count = distinct(gains, "toi")
        figure, axes = panels(count, columns=2, height=0.8 + 0.38 * len(criteria), sharex=True, sharey=True)
        for panel, (_, part) in zip(axes, groups(gains, "toi"), strict=True):
            for end in (0, 1):
                panel.axvline(end, color=GRAY, lw=0.8, ls="-" if end == 0 else (0, (1, 1)))
            for own, dots in groups(part, "own"):
                places = [-criteria.index(label) for label in dots["tsc_label"]]
                look = {"fmt": MARKERS[int(own)], "color": PALETTE[int(own)], "lw": 1, "markersize": 4}
                panel.errorbar(numbers(dots, "value"), places, xerr=reach(dots), **look)
            labels = ["\n".join(wrap(label, 25, break_long_words=False)) for label in criteria]
            panel.set_yticks([-place for place in range(len(criteria))], labels=labels)
            panel_title(panel, f"TOI: {word(part, 'toi_label')}")
        figure.supxlabel(
            f"share of the possible gain (n = {most(gains, 'images')})\n"
            "0: same length for all; 1: oracle\n"
            "square: chosen by the task itself"
        )
    return figure


def oracle_gaps_alt(gains: pd.DataFrame) -> str:
    """Say for each task what its own criterion realizes and which criterion realizes most."""
    if gains.empty:
        return f"{NOTHING.capitalize()}."
    words = []
    for _, part in groups(gains, "toi"):
        best = part.iloc[int(numbers(part, "value").argmax())]
        own = rows(part, part["own"])
        says = f"its own criterion {numbers(own, 'value')[0]:.0%}, " if len(own) else ""
        words.append(f"{word(part, 'toi_label')}: {says}most {best['tsc_label']} with {best['value']:.0%}")
    return f"Share of the possible gain over the same length for all that is realized, {'; '.join(words)}."
