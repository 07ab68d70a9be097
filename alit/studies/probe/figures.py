"""Linear probes by iteration, tokens and stage, beside what trivial features reach (paper, sec. 5)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from alit.plots.style import (
    BAND,
    GRAY,
    distinct,
    groups,
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

NOT_PROBED = "not measurable here: no probes"
APART = 0.006  # of the axis, between two lines' bars
LARGEST = 10  # columns of a grid whose cells carry numbers
DARK = 0.55  # of the color scale: cells beyond it carry white numbers


def probe_by_iteration(scores: pd.DataFrame) -> Figure:
    """Draw accuracy against iteration with all of its latents, a line per kind of tokens; beside them, the controls.

    Bands are 95 % intervals over test images, bars the standard deviation over seeds.

    Args:
        scores: columns dataset, images, features, iteration, tokens, latents, stage, pooling, label, value, low, high,
            spread; one row per feature point.
    """
    lines = _whole(rows(scores, scores["features"] == "tokenizer"))
    if lines.empty:
        return note_figure(NOT_PROBED)
    with style():
        figure, (panel, side) = panels(2, columns=2, height=2.8)
        for (label, line), (color, marker, dash) in zip(groups(lines, "label"), looks_of_series(), strict=False):
            line = line.sort_values("iteration")
            look = {"color": color, "marker": marker, "ls": dash, "capsize": 1.5, "elinewidth": 0.8}
            spread = np.nan_to_num(numbers(line, "spread"))
            panel.errorbar(line["iteration"], line["value"], yerr=spread, label=str(label), **look)
            panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
        panel.set_xlabel("iteration")
        panel.set_ylabel(_accuracy(scores))
        panel.set_xticks(sorted({int(number) for number in numbers(lines, "iteration")}))
        panel.set_ylim(bottom=0)
        _controls(side, scores, panel.get_ylim())
        handles, labels = panel.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(_about(scores))
    return figure


def probe_by_latents(scores: pd.DataFrame) -> Figure:
    """Draw accuracy of the first k latents of the last iteration, and of the iteration that has k, against k.

    Args:
        scores: columns as in `probe_by_iteration`.
    """
    latents = _latents_of_encoder(scores)
    if latents.empty:
        return note_figure(NOT_PROBED)
    last = rows(latents, latents["iteration"] == latents["iteration"].max())
    kinds = {"first latents of the last iteration": last, "all latents of the iteration that has them": _whole(latents)}
    with style():
        figure, (panel,) = panels(1, height=2.8)
        for side, (label, line), (color, marker, dash) in zip((-1, 1), kinds.items(), looks_of_series(), strict=False):
            line = line.sort_values("latents")
            look = {"color": color, "marker": marker, "ls": dash, "capsize": 1.5, "elinewidth": 0.8}
            places = numbers(line, "latents") + side * APART * most(last, "latents")  # bars stand side by side
            panel.errorbar(places, line["value"], yerr=reach(line), label=label, **look)
        panel.set_xlabel("latents pooled")
        panel.set_ylabel(_accuracy(scores))
        figure.suptitle(f"{word(scores, 'dataset')} (n = {most(scores, 'images')})")
        figure.legend(loc="outside lower center")
    return figure


def probe_grids(scores: pd.DataFrame) -> Figure:
    """Draw accuracy as heat maps, iteration by latents pooled, one panel per kind of tokens, on one color scale.

    Args:
        scores: columns as in `probe_by_iteration`.
    """
    cells = _pooled_to_mean(scores)
    cells = rows(cells, cells["latents"] > 0)
    if cells.empty:
        return note_figure(NOT_PROBED)
    with style():
        figure, axes = panels(distinct(cells, "label"), height=2.4, sharex=True, sharey=True)
        limits = (numbers(cells, "value").min(), numbers(cells, "value").max())
        marks: ScalarMappable | None = None
        for panel, (label, part) in zip(axes, groups(cells, "label"), strict=True):
            marks = _heat_map(panel, part, limits)
            panel_title(panel, str(label))
        assert marks is not None
        figure.colorbar(marks, ax=axes, label=_accuracy(scores), pad=0.02)
        figure.supxlabel("latents pooled, the first so many")
        figure.supylabel("iteration")
        figure.suptitle(_about(scores))
    return figure


def probe_by_iteration_alt(scores: pd.DataFrame) -> str:
    """Say how the accuracy of each kind of tokens changes over the iterations, and what the best control reaches."""
    lines = _whole(rows(scores, scores["features"] == "tokenizer"))
    if lines.empty:
        return f"{NOT_PROBED.capitalize()}."
    changes = []
    for label, line in groups(lines, "label"):
        values = numbers(line.sort_values("iteration"), "value")
        changes.append(f"{label} {values[0]:.1%} to {values[-1]:.1%}")
    controls = rows(scores, scores["features"] != "tokenizer").sort_values("value")
    best = (
        f"; the best control, {controls['label'].iloc[-1]}, {numbers(controls, 'value')[-1]:.1%}"
        if len(controls)
        else ""
    )
    return f"Probe accuracy from the first to the last iteration: {'; '.join(changes)}{best}."


def probe_by_latents_alt(scores: pd.DataFrame) -> str:
    """Say which number of first latents of the last iteration is probed best."""
    latents = _latents_of_encoder(scores)
    if latents.empty:
        return f"{NOT_PROBED.capitalize()}."
    last = rows(latents, latents["iteration"] == latents["iteration"].max()).sort_values("latents")
    best = int(numbers(last, "value").argmax())
    pooled, values = numbers(last, "latents"), numbers(last, "value")
    return (
        f"Of the last iteration's latents the first {pooled[best]:g} are probed best ({values[best]:.1%}); "
        f"the first {pooled[0]:g} reach {values[0]:.1%} and all {pooled[-1]:g} reach {values[-1]:.1%}."
    )


def probe_grids_alt(scores: pd.DataFrame) -> str:
    """Name the best cell of each heat map."""
    cells = _pooled_to_mean(scores)
    cells = rows(cells, cells["latents"] > 0)
    if cells.empty:
        return f"{NOT_PROBED.capitalize()}."
    best = []
    for label, part in groups(cells, "label"):
        top = part.sort_values("value").iloc[-1]
        best.append(f"{label} {top['value']:.1%} (first {top['latents']} latents of iteration {top['iteration']})")
    return f"Best probe accuracy of each kind of tokens: {'; '.join(best)}."


def _pooled_to_mean(scores: pd.DataFrame) -> pd.DataFrame:
    return rows(scores, (scores["features"] == "tokenizer") & (scores["pooling"] == "mean"))


def _latents_of_encoder(scores: pd.DataFrame) -> pd.DataFrame:
    points = _pooled_to_mean(scores)
    return rows(points, (points["tokens"] == "latents") & (points["stage"] == "encoder"))


def _whole(points: pd.DataFrame) -> pd.DataFrame:
    """Keep the points that pool all latents of their iteration, or none."""
    return rows(points, points["latents"] == points.groupby(["label", "iteration"])["latents"].transform("max"))


def _heat_map(panel: Axes, part: pd.DataFrame, limits: tuple[float, float]) -> ScalarMappable:
    """Draw one grid with the accuracy in per cent in each cell."""
    table = part.pivot_table(values="value", index="iteration", columns="latents")
    cells = panel.pcolormesh(table.to_numpy(), cmap="crest", vmin=limits[0], vmax=limits[1])
    panel.set_xticks(np.arange(table.shape[1]) + 0.5, labels=[str(latents) for latents in table.columns])
    panel.set_yticks(np.arange(table.shape[0]) + 0.5, labels=[str(iteration) for iteration in table.index])
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if not np.isnan(value) and table.shape[1] <= LARGEST:
            dark = value > limits[0] + DARK * (limits[1] - limits[0])
            look = {"color": "white" if dark else "black", "fontsize": 6, "ha": "center", "va": "center"}
            panel.text(column + 0.5, row + 0.5, f"{100 * value:.0f}", **look)
    return cells


def _controls(panel: Axes, scores: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Draw what the controls reach as bars with intervals, best on top, on the scale of the lines."""
    controls = rows(scores, scores["features"] != "tokenizer").sort_values("value")
    places = np.arange(len(controls))
    panel.barh(places, numbers(controls, "value"), xerr=reach(controls), color=GRAY, height=0.6, capsize=2)
    panel.set_yticks(places, labels=[str(label) for label in controls["label"]])
    panel.set_xlim(limits)
    panel.set_xlabel("controls: probe accuracy")


def _accuracy(scores: pd.DataFrame) -> str:
    return f"probe accuracy (mean of {most(scores, 'seeds')} seeds)"


def _about(scores: pd.DataFrame) -> str:
    return f"{word(scores, 'dataset')} (n = {most(scores, 'images')}), fitted on {most(scores, 'trained_on')} images"
