"""Complexity against loss, selected length and codec bytes (paper, Fig. 4, 11, 12)."""

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes

from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import (
    MARKERS,
    PALETTE,
    Plot,
    dot_panels,
    error_bars,
    evenly,
    note,
    panel_title,
    panels,
    sample_size,
    sequence,
    style,
)

LINES = 4  # series in one panel; more cannot be told apart
NOTHING = "not measurable here: no data set with complexities"


def loss_by_complexity(bins: pd.DataFrame) -> Plot:
    """Draw mean L1 against complexity, one line per length, one panel per data set; bars are 95 % intervals.

    Args:
        bins: columns dataset, images, complexity, setting (length), value, low, high.
    """
    if bins.empty:
        return note(NOTHING)
    lengths = evenly(bins["setting"].to_numpy(), LINES)
    subject = f"Mean L1 at {lengths[0]:g} tokens"
    return _binned(bins, lengths, "mean L1 error", "{:g} tokens".format, subject, lengths[0])


def length_by_complexity(bins: pd.DataFrame) -> Plot:
    """Draw mean selected length against complexity, one line per L1 threshold, one panel per data set.

    Args:
        bins: columns as in `loss_by_complexity`, with thresholds as settings.
    """
    if bins.empty:
        return note(NOTHING)
    limits = _informative(bins)
    middle = limits[len(limits) // 2]
    subject = f"Mean selected length under L1 < {middle:g}"
    return _binned(bins, limits, "mean length (tokens)", "L1 < {:g}".format, subject, middle)


def complexity_correlations(correlations: pd.DataFrame) -> Plot:
    """Draw Spearman of complexity with each predictor, one panel per data set; bars are 95 % intervals.

    Args:
        correlations: columns dataset, images, kind, predictor, value, low, high.
    """
    if correlations.empty:
        return note(NOTHING)
    figure = dot_panels(correlations, "predictor", "kind", "Spearman with complexity", 0)
    words = {"loss": "L1 at fixed lengths", "length": "selected length", "codec": "codec bytes"}
    ranges = [
        f"{words.get(str(kind), str(kind))} {part['value'].min():.2f} to {part['value'].max():.2f}"
        for kind, part in correlations.groupby("kind", sort=False)
    ]
    datasets = len(correlations["dataset"].unique())
    return Plot(figure, f"Spearman of complexity over {datasets} data sets: {'; '.join(ranges)}.")


def partial_correlations(correlations: pd.DataFrame) -> Plot:
    """Draw Spearman of complexity with each predictor, codec bytes held fixed or not; bars are 95 % intervals.

    Args:
        correlations: columns dataset, images, threshold, predictor, given, value, low, high.
    """
    if correlations.empty:
        return note(NOTHING)
    named = correlations.assign(given="given " + correlations["given"])
    figure = dot_panels(named, "predictor", "given", "Spearman with complexity", 0)
    changes = []
    for name, part in correlations.groupby("dataset", sort=False):
        selected = part.loc[part["predictor"] == "selected length"]
        lengths = list(zip(selected["given"], selected["value"], strict=True))
        (nothing, first), (everything, last) = lengths[0], lengths[-1]
        limit = part["threshold"].iat[0]
        changes.append(f"{first:.2f} given {nothing}, {last:.2f} given {everything} on {name} (L1 < {limit:g})")
    return Plot(figure, f"Spearman of complexity with the selected length: {'; '.join(changes)}.")


def controlled_scenes(levels: pd.DataFrame, rises: pd.DataFrame) -> Plot:
    """Draw a column per factor: mean L1 at a few lengths above, mean selected length below; bars are 95 % intervals.

    Args:
        levels: columns dataset (factor), images (scenes), kind, setting, complexity (level), value, low, high.
        rises: changes from the lowest to the highest level, for the description; columns alike but complexity.
    """
    if levels.empty:
        return note("not measurable here: no controlled scenes")
    losses, lengths = (levels.loc[levels["kind"] == kind] for kind in ("loss", "length"))
    factors = len(levels["dataset"].unique())
    with style():
        figure, axes = panels(2 * factors, columns=factors, height=2.0, sharex=True, sharey="row")
        for panel, (name, part) in zip(axes, losses.groupby("dataset", sort=False), strict=False):
            shown = evenly(part["setting"].to_numpy(), LINES)
            for setting, color, marker in zip(shown, sequence(len(shown)), MARKERS, strict=False):
                line = part.loc[part["setting"] == setting]
                _line(panel, line, color, marker, f"L1 with {setting:g} tokens")
            panel_title(panel, f"{name} ({sample_size(part)} scenes)")
        for panel, (_, part) in zip(axes[factors:], lengths.groupby("dataset", sort=False), strict=True):
            _line(panel, part, PALETTE[0], "X", f"length under L1 < {part['setting'].iat[0]:g}")
            panel.set_xlabel("level")
        axes[0].set_ylabel("mean L1 error")
        axes[factors].set_ylabel("mean length (tokens)")
        found = [panel.get_legend_handles_labels() for panel in (axes[0], axes[factors])]
        handles, labels = ([*above, *below] for above, below in zip(*found, strict=True))
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    part = rises.loc[rises["kind"] == "length"]
    changes = [
        f"{value:+.2g} [{low:.2g}, {high:.2g}] with {factor}"
        for factor, value, low, high in part[["dataset", "value", "low", "high"]].itertuples(index=False)
    ]
    subject = f"Tokens under L1 < {part['setting'].iat[0]:g}, highest minus lowest level of the same scenes"
    return Plot(figure, f"{subject}: {'; '.join(changes)}.")


def card(bins: pd.DataFrame) -> CardFigure:
    """Draw mean selected length against complexity under one threshold of L1, for the study's card.

    Args:
        bins: see `length_by_complexity`.
    """
    if bins.empty:
        return no_card(NOTHING)
    limits = _informative(bins)
    middle = limits[len(limits) // 2]
    rows = bins.loc[bins["setting"] == middle]
    name = rows["dataset"].iat[0]
    first = rows.loc[rows["dataset"] == name].sort_values("complexity")
    low, high = (f"{first['value'].iat[end]:.3g}" for end in (0, -1))
    return line_card(
        f"For L1 < {middle:g}, the least complex images of {name} take {low} tokens, the most complex {high}.",
        rows,
        series="dataset",
        across="complexity",
        x=f"complexity ({sample_size(first)})",
        y=f"mean tokens for L1 < {middle:g}",
    )


def _binned(
    bins: pd.DataFrame,
    settings: Sequence[float],
    ylabel: str,
    name_line: Callable[[float], str],
    subject: str,
    described: float,
) -> Plot:
    """Draw a line per setting; the description has the change of `subject`, the line at the setting `described`."""
    changes = []
    with style():
        figure, axes = panels(len(bins["dataset"].unique()), sharey=True, sharex=True)
        for panel, (name, part) in zip(axes, bins.groupby("dataset", sort=False), strict=True):
            for setting, color, marker in zip(settings, sequence(len(settings)), MARKERS, strict=False):
                line = part.loc[part["setting"] == setting].sort_values("complexity")
                _line(panel, line, color, marker, name_line(setting))
                if setting == described:
                    changes.append(f"{line['value'].iat[0]:.3g} to {line['value'].iat[-1]:.3g} on {name}")
            panel_title(panel, f"{name} ({sample_size(part)})")
            panel.set_xlabel("complexity")
        axes[0].set_ylabel(ylabel)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return Plot(figure, f"{subject} from the least to the most complex bin: {'; '.join(changes)}.")


def _line(panel: Axes, line: pd.DataFrame, color: str | tuple[float, ...], marker: str, label: str) -> None:
    look = {"color": color, "marker": marker, "capsize": 1.5, "elinewidth": 0.8, "label": label}
    panel.errorbar(line["complexity"].to_numpy(), line["value"].to_numpy(), yerr=error_bars(line), **look)


def _informative(bins: pd.DataFrame) -> list[float]:
    """Choose at most `LINES` thresholds at which not nearly every image has the shortest or the longest length."""
    low, high = bins["value"].to_numpy().min(), bins["value"].to_numpy().max()
    means = {setting: part["value"].to_numpy().mean() for setting, part in bins.groupby("setting", sort=False)}
    between = [setting for setting, mean in means.items() if 0.05 < (mean - low) / max(high - low, 1e-12) < 0.95]
    return evenly(bins.loc[bins["setting"].isin(between or list(means))]["setting"].to_numpy(), LINES)
