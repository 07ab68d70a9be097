"""Linear probes by iteration, tokens and stage, compared with what trivial features reach (paper, sec. 5)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import (
    BAND,
    GRAY,
    Plot,
    error_bars,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)
from alit.studies.probe import CONTROLS, TOKENIZER

NOT_PROBED = "not measurable here: no probes"
NO_VARIANTS = "not measurable here: no variants with a fixed length were probed"
APART = 0.006  # of the axis, between two lines' bars
LARGEST = 10  # columns of a grid whose cells carry numbers
DARK = 0.55  # of the color scale: cells beyond it carry white numbers


def probe_by_iteration(scores: pd.DataFrame) -> Plot:
    """Draw accuracy against iteration with all of its latents, a line per kind of tokens, and the controls.

    Bands are 95 % intervals over test images, bars the standard deviation over seeds.

    Args:
        scores: columns dataset, images, features, iteration, tokens, latents, stage, pooling, label, value, low, high,
            spread; one row per feature point.
    """
    lines = _whole(scores.loc[(scores["features"] == TOKENIZER) & (scores["tokens"] != "last latents")])
    if lines.empty:
        return note(NOT_PROBED)
    controls = scores.loc[scores["features"].isin(list(CONTROLS))].sort_values("value")
    changes = []
    with style():
        figure, (panel, side) = panels(2, columns=2, height=2.8)
        kinds = lines.groupby("label", sort=False)
        for (label, line), (color, marker, dash) in zip(kinds, looks_of_series(), strict=False):
            line = line.sort_values("iteration")
            look = {"color": color, "marker": marker, "ls": dash, "capsize": 1.5, "elinewidth": 0.8}
            spread = np.nan_to_num(line["spread"].to_numpy(dtype=float))
            panel.errorbar(line["iteration"], line["value"], yerr=spread, label=str(label), **look)
            panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            changes.append(f"{label} {line['value'].iloc[0]:.1%} to {line['value'].iloc[-1]:.1%}")
        panel.set_xlabel("iteration")
        panel.set_ylabel(_accuracy(scores))
        panel.set_xticks(sorted(set(lines["iteration"])))
        panel.set_ylim(bottom=0)
        _controls(side, controls, panel.get_ylim())
        handles, labels = panel.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(_about(scores))
    best = ""
    if len(controls):
        best = f"; the best control, {controls['label'].iloc[-1]}, {controls['value'].iloc[-1]:.1%}"
    return Plot(figure, f"Probe accuracy from the first to the last iteration: {'; '.join(changes)}{best}.")


def probe_by_latents(scores: pd.DataFrame) -> Plot:
    """Draw accuracy of the first and the last k latents of the last iteration, and of the iteration with k, against k.

    Args:
        scores: columns as in `probe_by_iteration`.
    """
    pooled = _pooled_to_mean(scores)
    latents = pooled.loc[(pooled["tokens"] == "latents") & (pooled["stage"] == "encoder")]
    if latents.empty:
        return note(NOT_PROBED)
    last = latents.loc[latents["iteration"] == latents["iteration"].max()].sort_values("latents")
    kinds = {
        "first latents of the last iteration": last,
        "last latents of the last iteration": pooled.loc[pooled["tokens"] == "last latents"],
        "all latents of the iteration that has them": _whole(latents),
    }
    kinds = {label: line for label, line in kinds.items() if len(line)}
    with style():
        figure, (panel,) = panels(1, height=3.2)
        for side, (label, line), (color, marker, dash) in zip(
            (-1, 0, 1), kinds.items(), looks_of_series(), strict=False
        ):
            line = line.sort_values("latents")
            look = {"color": color, "marker": marker, "ls": dash, "capsize": 1.5, "elinewidth": 0.8}
            places = line["latents"] + side * APART * last["latents"].max()  # bars stand side by side
            panel.errorbar(places, line["value"], yerr=error_bars(line), label=label, **look)
        panel.set_xlabel("latents pooled")
        panel.set_ylabel(_accuracy(scores))
        figure.suptitle(f"{scores['dataset'].iloc[0]} ({sample_size(scores)})")
        figure.legend(loc="outside lower center")
    best = last.loc[last["value"].idxmax()]
    alt = (
        f"Of the last iteration's latents the first {best['latents']:g} are probed best ({best['value']:.1%}); "
        f"the first {last['latents'].iloc[0]:g} reach {last['value'].iloc[0]:.1%} "
        f"and all {last['latents'].iloc[-1]:g} reach {last['value'].iloc[-1]:.1%}."
    )
    return Plot(figure, alt)


def probe_grids(scores: pd.DataFrame) -> Plot:
    """Draw accuracy as heat maps, iteration by latents pooled, one panel per kind of tokens, on one color scale.

    Args:
        scores: columns as in `probe_by_iteration`.
    """
    cells = _pooled_to_mean(scores)
    cells = cells.loc[(cells["latents"] > 0) & (cells["tokens"] != "last latents")]
    if cells.empty:
        return note(NOT_PROBED)
    best = []
    with style():
        figure, axes = panels(len(cells["label"].unique()), height=2.4, sharex=True, sharey=True)
        limits = (cells["value"].min(), cells["value"].max())
        marks: ScalarMappable | None = None
        for panel, (label, part) in zip(axes, cells.groupby("label", sort=False), strict=True):
            marks = _heat_map(panel, part, limits)
            panel_title(panel, str(label))
            top = part.sort_values("value").iloc[-1]
            best.append(f"{label} {top['value']:.1%} (first {top['latents']} latents of iteration {top['iteration']})")
        assert marks is not None
        figure.colorbar(marks, ax=axes, label=_accuracy(scores), pad=0.02)
        figure.supxlabel("latents pooled, the first so many")
        figure.supylabel("iteration")
        figure.suptitle(_about(scores))
    return Plot(figure, f"Best probe accuracy of each kind of tokens: {'; '.join(best)}.")


def probe_parity(parity: pd.DataFrame, margin: float) -> Plot:
    """Draw what recurrent variants reach beyond those of a fixed length, at that length, a panel per kind of tokens.

    Args:
        parity: columns dataset, images, label, length, variant, than, value, low, high; bars are the intervals.
        margin: differences within it count as none; shaded.
    """
    if parity.empty:
        return note(NO_VARIANTS)
    reported = []
    kinds = parity.groupby("label", sort=False)
    with style():
        rows = parity.groupby(["than", "length"]).ngroups
        figure, axes = panels(len(kinds), columns=3, height=1.3 + 0.3 * rows, sharex=True, sharey=True)
        for panel, (label, part) in zip(axes, kinds, strict=True):
            places = -np.arange(len(part))
            panel.axvspan(-margin, margin, color=GRAY, alpha=BAND, lw=0)
            panel.axvline(0, color=GRAY, lw=0.8)
            panel.errorbar(part["value"], places, xerr=error_bars(part), fmt="o", capsize=2)
            names = [f"{than} ({length})" for than, length in zip(part["than"], part["length"], strict=True)]
            panel.set_yticks(places, labels=names)
            panel.margins(y=0.3)
            panel_title(panel, str(label))
            reported += [
                f"{value:+.1%} over {name} on {label}" for value, name in zip(part["value"], names, strict=True)
            ]
        figure.supxlabel("probe accuracy of the recurrent variant minus that of the one with a fixed length")
        figure.suptitle(f"{parity['dataset'].iloc[0]} ({sample_size(parity)})")
    return Plot(figure, f"Probe accuracy of recurrent variants at the same number of latents: {'; '.join(reported)}.")


def card(scores: pd.DataFrame) -> CardFigure:
    """Draw accuracy against iteration of each kind of tokens, and of the best control, for the study's card.

    Args:
        scores: see `probe_by_iteration`.
    """
    encoded = _pooled_to_mean(scores.loc[(scores["stage"] == "encoder") & (scores["tokens"] != "last latents")])
    if encoded.empty:
        return no_card(NOT_PROBED)
    lines = _whole(encoded)
    controls = scores.loc[scores["features"].isin(list(CONTROLS))].sort_values("value")
    best = pd.concat([controls.tail(1).assign(iteration=step) for step in sorted(set(lines["iteration"]))])
    kind = "latents" if "latents" in set(lines["tokens"]) else lines["tokens"].iat[0]
    whole = lines.loc[lines["tokens"] == kind].sort_values("iteration")
    first, last = (f"{whole['value'].iat[end]:.1%}" for end in (0, -1))
    than = "".join(f"; {row.label} alone {row.value:.1%}" for row in controls.tail(1).itertuples())
    return line_card(
        f"Probes of {whole['label'].iat[0]} reach {first} after the first iteration and {last} after the last{than}.",
        pd.concat([lines, best]),
        series="label",
        across="iteration",
        x=f"iteration ({sample_size(lines)})",
        y="probe accuracy\u00a0↑",
        shares="y",
    )


def _pooled_to_mean(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.loc[(scores["features"] == TOKENIZER) & (scores["pooling"] == "mean")]


def _whole(points: pd.DataFrame) -> pd.DataFrame:
    """Keep the points that pool all latents of their iteration, or none."""
    return points.loc[points["latents"] == points.groupby(["label", "iteration"])["latents"].transform("max")]


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


def _controls(panel: Axes, controls: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Draw what the controls reach as bars with intervals, best on top, on the scale of the lines."""
    places = np.arange(len(controls))
    panel.barh(places, controls["value"], xerr=error_bars(controls), color=GRAY, height=0.6, capsize=2)
    panel.set_yticks(places, labels=[str(label) for label in controls["label"]])
    panel.set_xlim(limits)
    panel.set_xlabel("controls: probe accuracy")


def _accuracy(scores: pd.DataFrame) -> str:
    return f"probe accuracy (mean of {scores['seeds'].max()} seeds)"


def _about(scores: pd.DataFrame) -> str:
    where = f"{scores['dataset'].iloc[0]} ({sample_size(scores)})"
    return f"{where}, fitted on {scores['trained_on'].max()} images"
