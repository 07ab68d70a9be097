"""Weak against strong task models at progressively fewer tokens (paper, Fig. 7)."""

from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from alit.plots.card import CardFigure, interval_card, no_card
from alit.plots.style import (
    BAND,
    GRAY,
    Plot,
    arrow_of,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

LEGEND = 32  # characters in a line of a panel's legend
NOTHING = "not measurable here: no task with a weak and a strong model"


def performance_by_strength(strength: pd.DataFrame) -> Plot:
    """Draw the performance of each model by length, one panel per task; horizontal lines are untouched images.

    Args:
        strength: columns task, against, model, place, images, label, better, clean, clean_low, clean_high, length,
            value, low, high, drop, drop_low, drop_high. Only performances against the truth are drawn: against a
            network's own answers, untouched images score perfectly.
    """
    part = strength.loc[strength["against"] == "truth"]
    if part.empty:
        return note(NOTHING)
    words = []
    with style():
        figure, axes = panels(len(part["task"].unique()), height=2.9)
        for panel, (task, lines) in zip(axes, part.groupby("task", sort=False), strict=True):
            models, label = [], lines["label"].iat[0]
            for look, (model, line) in zip(looks_of_series(), lines.groupby("model", sort=False), strict=False):
                line = line.sort_values("length")
                clean = _untouched(panel, line, look[0], look[2])
                _band(panel, line, ("value", "low", "high"), look, f"{model}: {clean:.3f} untouched")
                few = f"{line['value'].iat[0]:.3g} with {line['length'].iat[0]} tokens"
                models.append(f"{model} {clean:.3g} untouched and {few}")
            panel_title(panel, f"{task} ({sample_size(lines)}): {label}{arrow_of(lines['better'].iat[0])}")
            _finish(panel, lines)
            words.append(f"{task} ({label}): {', '.join(models)}")
    return Plot(figure, f"Performance of weak and strong models: {'; '.join(words)}.")


def drop_by_strength(strength: pd.DataFrame) -> Plot:
    """Draw the drop of each model by length as a share of its performance on untouched images, on one scale.

    Args:
        strength: see `performance_by_strength`; drops against a network's own answers have panels of their own.
    """
    if strength.empty:
        return note(NOTHING)
    names = list(dict.fromkeys(zip(strength["task"], strength["against"], strict=True)))
    words = []
    with style():
        figure, axes = panels(len(names), height=2.9, sharey=True)
        for panel, (task, against) in zip(axes, names, strict=True):
            lines = strength.loc[(strength["task"] == task) & (strength["against"] == against)]
            models = []
            for look, (model, line) in zip(looks_of_series(), lines.groupby("model", sort=False), strict=False):
                line = line.sort_values("length")
                _band(panel, line, ("drop", "drop_low", "drop_high"), look, str(model))
                models.append(f"{model} by {line['drop'].iat[0]:.0%} to {line['drop'].iat[-1]:.0%}")
            panel.axhline(0, color=GRAY, lw=0.8)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0))
            panel_title(panel, f"{task} ({sample_size(lines)}): {lines['label'].iat[0]}")
            _finish(panel, lines)
            if against == names[0][1]:
                words.append(f"in {task} {' and '.join(models)}")
        figure.supylabel("worse than on untouched images by")
    lengths = f"From {strength['length'].min()} to {strength['length'].max()} tokens"
    return Plot(figure, f"{lengths} models are worse than on untouched images: {'; '.join(words)}.")


def depth_agreement(agreement: pd.DataFrame) -> Plot:
    """Draw how far each depth model orders pixels as known depth does, by length, one panel per data set.

    Args:
        agreement: columns dataset, model, images, clean, clean_low, clean_high, length, value, low, high; rank
            correlations from -1 to 1. Horizontal lines are untouched images.
    """
    if agreement.empty:
        return note("not measurable here: no images with known depth, or no depth network")
    words = []
    with style():
        figure, axes = panels(len(agreement["dataset"].unique()), height=2.9, sharey=True)
        for panel, (dataset, lines) in zip(axes, agreement.groupby("dataset", sort=False), strict=True):
            models = []
            for look, (model, line) in zip(looks_of_series(), lines.groupby("model", sort=False), strict=False):
                line = line.sort_values("length")
                clean = _untouched(panel, line, look[0], look[2])
                _band(panel, line, ("value", "low", "high"), look, fill(f"{model}: {clean:.2f} untouched", LEGEND))
                interval = f"{line['clean_low'].iat[0]:.2f} to {line['clean_high'].iat[0]:.2f}"
                rebuilt = f"{line['value'].iat[0]:.2f} to {line['value'].iat[-1]:.2f} rebuilt"
                models.append(f"{model} {clean:.2f} ({interval}) untouched, {rebuilt}")
            panel.axhline(0, color=GRAY, lw=0.8)
            panel_title(panel, f"{dataset} ({sample_size(lines)})")
            _finish(panel, lines)
            words.append(f"{dataset} ({lines['images'].max()} images): {', '.join(models)}")
        figure.supylabel("rank agreement with known depth\u00a0↑")
    lengths = f"from {agreement['length'].min()} to {agreement['length'].max()} tokens"
    return Plot(figure, f"Rank agreement of depth networks with known depth, {lengths}: {'; '.join(words)}.")


def card(strength: pd.DataFrame) -> CardFigure:
    """Draw what every model loses at the shortest length, for the study's card.

    Args:
        strength: see `performance_by_strength`; a task's drops against the truth, where it has one.
    """
    if strength.empty:
        return no_card(NOTHING)
    against = strength.groupby("task", sort=False)["against"].transform("first")
    few = strength["length"].min()
    rows = strength.loc[(strength["against"] == against) & (strength["length"] == few)]
    first = rows.loc[rows["task"] == rows["task"].iat[0]]
    losses = " and ".join(
        f"{abs(drop):.0%} {'worse' if drop > 0 else 'better'} ({model})"
        for model, drop in zip(first["model"], first["drop"], strict=True)
    )
    return interval_card(
        f"With {few} tokens, {first['task'].iat[0]} is {losses} than on untouched images.",
        rows.assign(
            row=rows["model"], series=rows["task"], value=rows["drop"], low=rows["drop_low"], high=rows["drop_high"]
        ),
        x=f"worse than on untouched images by, at {few} tokens",
        reference=0,
        shares="x",
    )


def _untouched(panel: Axes, line: pd.DataFrame, color: str, dash: object) -> float:
    """Draw a model's value on untouched images with its interval, and return it."""
    clean = float(line["clean"].iat[0])
    panel.axhline(clean, color=color, ls=dash, lw=0.8)
    panel.axhspan(line["clean_low"].iat[0], line["clean_high"].iat[0], color=color, alpha=BAND / 2, lw=0)
    return clean


def _band(
    panel: Axes, line: pd.DataFrame, columns: tuple[str, str, str], look: tuple[str, str, object], label: str
) -> None:
    color, marker, dash = look
    value, low, high = columns
    panel.plot(line["length"], line[value], color=color, marker=marker, ls=dash, label=label)
    panel.fill_between(line["length"], line[low], line[high], color=color, alpha=BAND, lw=0)


def _finish(panel: Axes, lines: pd.DataFrame) -> None:
    ticks = sorted({int(length) for length in lines["length"].to_numpy()})
    step = max(1, len(ticks) // 4)
    panel.set_xticks(ticks[::-step][::-1])
    panel.set_xlabel("tokens")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28))
