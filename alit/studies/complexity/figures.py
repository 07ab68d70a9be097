"""Complexity against loss, selected length and codec bytes (paper, Fig. 4, 11, 12)."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alit.plots.style import (
    MARKERS,
    PALETTE,
    distinct,
    dot_panels,
    ends,
    evenly,
    groups,
    most,
    note_figure,
    numbers,
    panel_title,
    panels,
    reach,
    rows,
    sequence,
    style,
)

LINES = 4  # series in one panel; more cannot be told apart
NOTHING = "not measurable here: no data set with complexities"


def loss_by_complexity(bins: pd.DataFrame) -> Figure:
    """Draw mean L1 against complexity, one line per length, one panel per data set; bars are 95 % intervals.

    Args:
        bins: columns dataset, images, complexity, setting (length), value, low, high.
    """
    return _binned(bins, "mean L1 error", lambda length: f"{length:g} tokens", _spread)


def length_by_complexity(bins: pd.DataFrame) -> Figure:
    """Draw mean selected length against complexity, one line per L1 threshold, one panel per data set.

    Args:
        bins: columns as in `loss_by_complexity`, with thresholds as settings.
    """
    return _binned(bins, "mean length (tokens)", lambda limit: f"L1 < {limit:g}", _telling)


def complexity_correlations(correlations: pd.DataFrame) -> Figure:
    """Draw Spearman of complexity with each predictor, one panel per data set; bars are 95 % intervals.

    Args:
        correlations: columns dataset, images, kind, predictor, value, low, high.
    """
    if correlations.empty:
        return note_figure(NOTHING)
    return dot_panels(correlations, "predictor", "kind", "Spearman with complexity", 0)


def partial_correlations(correlations: pd.DataFrame) -> Figure:
    """Draw Spearman of complexity with each predictor, codec bytes held fixed or not; bars are 95 % intervals.

    Args:
        correlations: columns dataset, images, predictor, given, value, low, high.
    """
    if correlations.empty:
        return note_figure(NOTHING)
    named = correlations.assign(given="given " + correlations["given"])
    return dot_panels(named, "predictor", "given", "Spearman with complexity", 0)


def loss_by_complexity_alt(bins: pd.DataFrame) -> str:
    """Describe how loss changes from the simplest to the most complex bin at the shortest length."""
    return _alt(bins, _spread(bins)[0] if len(bins) else None, "Mean L1 at {:g} tokens")


def length_by_complexity_alt(bins: pd.DataFrame) -> str:
    """Describe how the selected length changes from the simplest to the most complex bin."""
    middle = _telling(bins)[len(_telling(bins)) // 2] if len(bins) else None
    return _alt(bins, middle, "Mean selected length under L1 < {:g}")


def complexity_correlations_alt(correlations: pd.DataFrame) -> str:
    """Name the range of correlations per kind of predictor."""
    if correlations.empty:
        return f"{NOTHING.capitalize()}."
    words = {"loss": "L1 at fixed lengths", "length": "selected length", "codec": "codec bytes"}
    ranges = [
        f"{words.get(str(kind), str(kind))} {part['value'].min():.2f} to {part['value'].max():.2f}"
        for kind, part in groups(correlations, "kind")
    ]
    return f"Spearman of complexity over {distinct(correlations, 'dataset')} data sets: {'; '.join(ranges)}."


def partial_correlations_alt(correlations: pd.DataFrame) -> str:
    """Say what is left of each correlation when all codec bytes are held fixed."""
    if correlations.empty:
        return f"{NOTHING.capitalize()}."
    changes = []
    for name, part in groups(correlations, "dataset"):
        held = list(dict.fromkeys(part["given"]))
        first, last = (rows(part, part["given"] == given)["value"].to_numpy()[-1] for given in (held[0], held[-1]))
        limit = numbers(part, "threshold")[0]
        changes.append(f"{first:.2f} given {held[0]}, {last:.2f} given {held[-1]} on {name} (L1 < {limit:g})")
    return f"Spearman of complexity with the selected length: {'; '.join(changes)}."


def _binned(
    bins: pd.DataFrame, ylabel: str, name_line: Callable[[float], str], choose: Callable[[pd.DataFrame], list[float]]
) -> Figure:
    if bins.empty:
        return note_figure(NOTHING)
    settings = choose(bins)
    with style():
        figure, axes = panels(distinct(bins, "dataset"), sharey=True, sharex=True)
        for panel, (name, part) in zip(axes, groups(bins, "dataset"), strict=True):
            for setting, color, marker in zip(settings, sequence(len(settings)), MARKERS, strict=False):
                line = rows(part, part["setting"] == setting).sort_values("complexity")
                look = {"color": color, "marker": marker, "capsize": 1.5, "elinewidth": 0.8}
                look["label"] = name_line(setting)
                panel.errorbar(line["complexity"].to_numpy(), line["value"].to_numpy(), yerr=reach(line), **look)
            panel_title(panel, f"{name} (n = {most(part, 'images')})")
            panel.set_xlabel("complexity")
        axes[0].set_ylabel(ylabel)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _alt(bins: pd.DataFrame, setting: float | None, subject: str) -> str:
    if setting is None:
        return f"{NOTHING.capitalize()}."
    changes = []
    for name, part in groups(rows(bins, bins["setting"] == setting), "dataset"):
        start, end = ends(part, "value", by="complexity")
        changes.append(f"{start:.3g} to {end:.3g} on {name}")
    return f"{subject.format(setting)} from the least to the most complex bin: {'; '.join(changes)}."


def _spread(bins: pd.DataFrame) -> list[float]:
    """Choose at most `LINES` settings, evenly over those there are, both ends included."""
    return evenly(numbers(bins, "setting"), LINES)


def _telling(bins: pd.DataFrame) -> list[float]:
    """Choose thresholds at which not nearly every image has the shortest or the longest length."""
    low, high = numbers(bins, "value").min(), numbers(bins, "value").max()
    means = {setting: numbers(part, "value").mean() for setting, part in groups(bins, "setting")}
    telling = [setting for setting, mean in means.items() if 0.05 < (mean - low) / max(high - low, 1e-12) < 0.95]
    return _spread(rows(bins, bins["setting"].isin(telling)) if telling else bins)


CONTROLLED_LINES = 4  # lengths in one panel
NO_CONTROLLED = "not measurable here: no controlled scenes"


def controlled_complexity(levels: pd.DataFrame) -> Figure:
    """Draw a column per factor: mean L1 at a few lengths above, mean selected length below; bars are 95 % intervals.

    Args:
        levels: columns dataset (factor), images (scenes), kind, setting, complexity (level), value, low, high.
    """
    if levels.empty:
        return note_figure(NO_CONTROLLED)
    losses, lengths = (rows(levels, levels["kind"] == kind) for kind in ("loss", "length"))
    factors = distinct(levels, "dataset")
    with style():
        figure, axes = panels(2 * factors, columns=factors, height=2.0, sharex=True, sharey="row")
        for panel, (name, part) in zip(axes, groups(losses, "dataset"), strict=False):
            shown = evenly(numbers(part, "setting"), CONTROLLED_LINES)
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
