"""Weak against strong task models at progressively fewer tokens (paper, Fig. 7)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alit.plots.style import (
    BAND,
    GRAY,
    arrow_of,
    distinct,
    ends,
    groups,
    looks_of_series,
    most,
    note_figure,
    panel_title,
    panels,
    rows,
    style,
    word,
)

NOTHING = "not measurable here: no task with a weak and a strong model"
NO_DEPTH = "not measurable here: no images with known depth, or no depth network"


def performance_by_strength(strength: pd.DataFrame) -> Figure:
    """Draw the performance of each model by length, one panel per task; horizontal lines are untouched images.

    Args:
        strength: columns task, against, model, place, images, label, better, clean, clean_low, clean_high, length,
            value, low, high, drop, drop_low, drop_high. Only performances against the truth are drawn: against a
            network's own answers, untouched images score perfectly.
    """
    part = rows(strength, strength["against"] == "truth")
    if part.empty:
        return note_figure(NOTHING)
    with style():
        figure, axes = panels(distinct(part, "task"), height=2.9)
        for panel, (task, lines) in zip(axes, groups(part, "task"), strict=True):
            for look, (model, line) in zip(looks_of_series(), groups(lines, "model"), strict=False):
                clean = float(line["clean"].to_numpy()[0])
                panel.axhline(clean, color=look[0], ls=look[2], lw=0.8)
                panel.axhspan(*line[["clean_low", "clean_high"]].to_numpy()[0], color=look[0], alpha=BAND / 2, lw=0)
                _band(panel, line, ("value", "low", "high"), look, f"{model}: {clean:.3f} untouched")
            name = f"{word(lines, 'label')}{arrow_of(word(lines, 'better'))}"
            panel_title(panel, f"{task} (n = {most(lines, 'images')}): {name}")
            _finish(panel, lines)
    return figure


def drop_by_strength(strength: pd.DataFrame) -> Figure:
    """Draw the drop of each model by length as a share of its performance on untouched images, on one scale.

    Args:
        strength: see `performance_by_strength`; drops against a network's own answers have panels of their own.
    """
    if strength.empty:
        return note_figure(NOTHING)
    names = list(dict.fromkeys(zip(strength["task"], strength["against"], strict=True)))
    with style():
        figure, axes = panels(len(names), height=2.9, sharey=True)
        for panel, (task, against) in zip(axes, names, strict=True):
            lines = rows(strength, (strength["task"] == task) & (strength["against"] == against))
            for look, (model, line) in zip(looks_of_series(), groups(lines, "model"), strict=False):
                _band(panel, line, ("drop", "drop_low", "drop_high"), look, str(model))
            panel.axhline(0, color=GRAY, lw=0.8)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0))
            panel_title(panel, f"{task} (n = {most(lines, 'images')}): {word(lines, 'label')}")
            _finish(panel, lines)
        figure.supylabel("worse than on untouched images by")
    return figure


def performance_by_strength_alt(strength: pd.DataFrame) -> str:
    """Say how each model does on untouched images and at the shortest length."""
    part = rows(strength, strength["against"] == "truth")
    if part.empty:
        return f"{NOTHING.capitalize()}."
    words = []
    for task, lines in groups(part, "task"):
        models = [
            f"{model} {line['clean'].to_numpy()[0]:.3g} untouched and {ends(line, 'value', by='length')[0]:.3g} with "
            f"{line['length'].min()} tokens"
            for model, line in groups(lines, "model")
        ]
        words.append(f"{task} ({word(lines, 'label')}): {', '.join(models)}")
    return f"Performance of weak and strong models: {'; '.join(words)}."


def drop_by_strength_alt(strength: pd.DataFrame) -> str:
    """Say by how much each model is worse at the shortest and at the longest length."""
    if strength.empty:
        return f"{NOTHING.capitalize()}."
    words = []
    for task, lines in groups(rows(strength, strength["against"] == strength["against"].iloc[0]), "task"):
        models = []
        for model, line in groups(lines, "model"):
            few, many = ends(line, "drop", by="length")
            models.append(f"{model} by {few:.0%} to {many:.0%}")
        words.append(f"in {task} {' and '.join(models)}")
    shortest, longest = strength["length"].min(), strength["length"].max()
    return f"From {shortest} to {longest} tokens models are worse than on untouched images: {'; '.join(words)}."


def depth_agreement(agreement: pd.DataFrame) -> Figure:
    """Draw how far each depth model orders pixels as known depth does, by length, one panel per data set.

    Args:
        agreement: columns dataset, model, images, clean, clean_low, clean_high, length, value, low, high; rank
            correlations from -1 to 1. Horizontal lines are untouched images.
    """
    if agreement.empty:
        return note_figure(NO_DEPTH)
    with style():
        figure, axes = panels(distinct(agreement, "dataset"), height=2.9, sharey=True)
        for panel, (dataset, lines) in zip(axes, groups(agreement, "dataset"), strict=True):
            for look, (model, line) in zip(looks_of_series(), groups(lines, "model"), strict=False):
                clean = float(line["clean"].to_numpy()[0])
                panel.axhline(clean, color=look[0], ls=look[2], lw=0.8)
                panel.axhspan(*line[["clean_low", "clean_high"]].to_numpy()[0], color=look[0], alpha=BAND / 2, lw=0)
                _band(panel, line, ("value", "low", "high"), look, f"{model}: {clean:.2f} untouched")
            panel.axhline(0, color=GRAY, lw=0.8)
            panel_title(panel, f"{dataset} (n = {most(lines, 'images')})")
            _finish(panel, lines)
        figure.supylabel("rank agreement with known depth\u00a0↑")
    return figure


def depth_agreement_alt(agreement: pd.DataFrame) -> str:
    """Say how far each depth model is right about the order of depth, untouched and at the shortest length."""
    if agreement.empty:
        return f"{NO_DEPTH.capitalize()}."
    words = []
    for dataset, lines in groups(agreement, "dataset"):
        models = []
        for model, line in groups(lines, "model"):
            clean, low, high = line[["clean", "clean_low", "clean_high"]].to_numpy()[0]
            few, many = ends(line, "value", by="length")
            models.append(f"{model} {clean:.2f} ({low:.2f} to {high:.2f}) untouched, {few:.2f} to {many:.2f} rebuilt")
        words.append(f"{dataset} ({most(lines, 'images')} images): {', '.join(models)}")
    lengths = f"from {agreement['length'].min()} to {agreement['length'].max()} tokens"
    return f"Rank agreement of depth networks with known depth, {lengths}: {'; '.join(words)}."


def _band(
    panel: Axes, line: pd.DataFrame, columns: tuple[str, str, str], look: tuple[str, str, object], label: str
) -> None:
    line = line.sort_values("length")
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
