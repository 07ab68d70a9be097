"""Use of the latent codebook, tokens kept between iterations, and images with ids in common (ICLR version, Fig. 22)."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import (
    BAND,
    GRAY,
    WIDE,
    Plot,
    error_bars,
    evenly,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    sequence,
    style,
)

LINES = 4  # iterations in one panel
NO_IDS = "not measurable here: no token ids"
NO_LABELS = "not measurable here: no nearest images at each length, or no labels"
NO_PICTURES = "no pictures: none of these sets' images may be shown"


def codebook_usage(curves: pd.DataFrame, lengths: Sequence[int] = ()) -> Plot:
    """Draw how often codes are used, most frequent first, one line per iteration, one panel per data set.

    Args:
        curves: columns dataset, images, length, rank (share of the codebook), frequency (multiple of the uniform one).
        lengths: those that are drawn; by default at most `LINES`, evenly over all.
    """
    if curves.empty:
        return note(NO_IDS)
    lengths = lengths or [int(each) for each in evenly(curves["length"].to_numpy(), LINES)]
    with style():
        figure, axes = panels(len(curves["dataset"].unique()), sharex=True, sharey=True)
        for panel, (name, part) in zip(axes, curves.groupby("dataset", sort=False), strict=True):
            panel.axhline(1, color=GRAY, lw=0.8, ls=":")
            for length, color in zip(lengths, sequence(len(lengths)), strict=True):
                line = part.loc[(part["length"] == length) & (part["frequency"] > 0)]
                panel.plot(line["rank"], line["frequency"], color=color, label=f"{length} tokens")
            panel.set_yscale("log")
            panel.set_xlim(0, 1)
            panel_title(panel, f"{name} ({sample_size(part)})")
            panel.set_xlabel("codes by rank (share)")
        figure.supylabel("frequency (uniform use = 1)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    shares = []  # of the codebook that carry half of the tokens
    for name, part in curves.loc[curves["length"] == curves["length"].max()].groupby("dataset", sort=False):
        summed = part["frequency"].to_numpy().cumsum()
        half = part["rank"].iloc[int(np.argmax(summed >= summed[-1] / 2))]
        shares.append(f"{half:.0%} on {name}")
    alt = f"At full length, half of all tokens are the most frequent codes, of the codebook: {'; '.join(shares)}."
    return Plot(figure, alt)


def codebook_use(use: pd.DataFrame) -> Plot:
    """Draw perplexity and occurring codes against tokens, one line per data set; bands are 95 % intervals.

    Args:
        use: columns dataset, images, length, measure, label, value, low, high.
    """
    if use.empty:
        return note(NO_IDS)
    looks = dict(zip(use["dataset"].unique(), looks_of_series(), strict=False))
    changes = []
    with style():
        figure, axes = panels(len(use["measure"].unique()), columns=2, sharey=True)
        for panel, (measure, part) in zip(axes, use.groupby("measure", sort=False), strict=True):
            for name, line in part.groupby("dataset", sort=False):
                color, marker, dash = looks[name]
                label = f"{name} ({sample_size(line)})"
                panel.plot(line["length"], line["value"], color=color, marker=marker, ls=dash, label=label)
                panel.fill_between(line["length"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
                values = line.sort_values("length")["value"]
                changes.append(
                    f"{measure} from {values.iloc[0]:.0%} to {values.iloc[-1]:.0%} of the codebook on {name}"
                )
            panel.set_ylim(0, 1.03)
            panel.set_xlabel("tokens")
            panel_title(panel, part["label"].iloc[0], 46)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return Plot(figure, f"From the shortest to the longest length, {'; '.join(changes)}.")


def kept_tokens(kept: pd.DataFrame, shares: pd.DataFrame) -> Plot:
    """Draw which tokens of the first data set an iteration keeps, and the share kept of each data set.

    Args:
        kept: columns dataset, images, iteration, position, kept, chance.
        shares: columns dataset, images, iteration, value, low, high, chance; bars are 95 % intervals, thin gray marks
            are what would be kept by chance.
    """
    if kept.empty:
        return note(NO_IDS)
    first = kept.loc[kept["dataset"] == kept["dataset"].iloc[0]]
    table = first.pivot_table(values="kept", index="iteration", columns="position")
    changes = []
    with style():
        figure, (left, right) = panels(2, columns=2, height=2.6)
        _shares(figure, left, table, "share of images that keep it")
        panel_title(left, f"{first['dataset'].iloc[0]} ({sample_size(first)})", 46)
        left.set_xlabel("latent token")
        left.set_ylabel("iteration")
        parts = shares.groupby("dataset", sort=False)
        for (name, line), (color, marker, dash) in zip(parts, looks_of_series(), strict=False):
            look = {"color": color, "marker": marker, "ls": dash, "label": f"{name} ({sample_size(line)})"}
            right.plot(line["iteration"], line["value"], **look)
            right.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            right.plot(line["iteration"], line["chance"], color=GRAY, marker="_", ls="none", markersize=7)
            values, chance = line.sort_values("iteration")["value"], line["chance"].mean()
            changes.append(f"{values.iloc[0]:.0%} then {values.iloc[-1]:.0%} on {name} (chance {chance:.0%})")
        right.set_ylim(0, 1)
        right.set_xlabel("iteration")
        right.set_ylabel("share of earlier tokens kept")
        panel_title(right, "gray: expected by chance", 46)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    iterations = f"iteration {shares['iteration'].min()} and iteration {shares['iteration'].max()}"
    return Plot(figure, f"Share of the earlier tokens that {iterations} keep: {'; '.join(changes)}.")


def surviving_ids(survival: pd.DataFrame) -> Plot:
    """Draw what is left of each iteration's code in every later one, of the first data set; and of the first code.

    Args:
        survival: columns dataset, images, iteration, later, tokens, value, low, high, chance; bands are 95 % intervals,
            thin gray marks what would agree by chance.
    """
    if survival.empty:
        return note(NO_IDS)
    first = survival.loc[survival["dataset"] == survival["dataset"].iloc[0]]
    table = first.pivot_table(values="value", index="iteration", columns="later")
    reported = []
    with style():
        figure, (left, right) = panels(2, columns=2, height=2.6)
        _shares(figure, left, table, "share of ids still there")
        panel_title(left, f"{first['dataset'].iloc[0]} ({sample_size(first)})", 46)
        left.set_xlabel("later iteration")
        left.set_ylabel("iteration whose code it is")
        left.set_xticks(table.columns.to_numpy())
        left.set_yticks(table.index.to_numpy())
        shortest = survival.loc[survival["iteration"] == survival["iteration"].min()]
        parts = shortest.groupby("dataset", sort=False)
        for (name, line), (color, marker, dash) in zip(parts, looks_of_series(), strict=False):
            line = line.sort_values("later")
            look = {"color": color, "marker": marker, "ls": dash, "label": f"{name} ({sample_size(line)})"}
            right.plot(line["later"], line["value"], **look)
            right.fill_between(line["later"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            right.plot(line["later"], line["chance"], color=GRAY, marker="_", ls="none", markersize=7)
            value, chance = line["value"].iloc[-1], line["chance"].iloc[-1]
            reported.append(f"{value:.0%} on {name} (chance {chance:.0%})")
        right.set_ylim(0, 1)
        right.set_xlabel("later iteration")
        right.set_ylabel(f"share of {shortest['tokens'].iloc[0]} ids still there")
        right.set_xticks(table.columns.to_numpy())
        panel_title(right, "gray: expected by chance", 46)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return Plot(figure, f"Share of the ids of the first iteration that the last one still has: {'; '.join(reported)}.")


def nearest_images(nearest: pd.DataFrame, agreement: pd.DataFrame) -> Plot:
    """Draw how many ids images share with their nearest, and how often the two have the same label.

    Args:
        nearest: columns dataset, images, shared, chance; one row per image, drawn cumulated.
        agreement: columns dataset, value, low, high, chance; one row per set with labels, bars are 95 % intervals.
    """
    if nearest.empty:
        return note(NO_IDS)
    looks = dict(zip(nearest["dataset"].unique(), looks_of_series(), strict=False))
    shared, same = [], []
    with style():
        figure, (left, right) = panels(2, columns=2, height=2.6)
        for name, part in nearest.groupby("dataset", sort=False):
            color, _, dash = looks[name]
            chance = part["chance"].iloc[0]
            left.ecdf(part["shared"].to_numpy(), color=color, ls=dash, label=f"{name} ({sample_size(part)})")
            left.plot(chance, 0, color=color, marker="|", ls="none", clip_on=False, markersize=9)
            shared.append(f"{part['shared'].mean():.0%} on {name} (all pairs {chance:.0%})")
        left.set_xlim(0, 1)
        left.set_xlabel("share of ids in common with the nearest\n(strokes on the axis: mean over all pairs)")
        left.set_ylabel("share of images")
        for place, (name, row) in enumerate(agreement.groupby("dataset", sort=False)):
            color, marker, _ = looks[name]
            right.errorbar(row["value"], [-place], xerr=error_bars(row), fmt=marker, color=color, capsize=2)
            right.plot(row["chance"], [-place], color=GRAY, marker="|", ls="none", markersize=12)
            same.append(f"{row['value'].iloc[0]:.0%} on {name} (all pairs {row['chance'].iloc[0]:.0%})")
        right.set_yticks(-np.arange(len(agreement)), labels=list(agreement["dataset"]))
        right.set_xlim(left=0)
        right.margins(y=0.3)
        right.locator_params(axis="x", nbins=5)
        right.set_xlabel("nearest image has the same label (share)\n(gray strokes: all pairs)")
        if agreement.empty:
            right.text(0.5, 0.5, "labels unknown", ha="center", transform=right.transAxes)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    agree = f"; they have the same label in {'; '.join(same)}" if same else ""
    return Plot(figure, f"An image and its nearest have in common, of their ids: {'; '.join(shared)}{agree}.")


def retrieval(table: pd.DataFrame) -> Plot:
    """Draw how often the nearest by ids has the same label, against the tokens whose ids are compared.

    Args:
        table: columns dataset, images, length, value, low, high, chance; bands are 95 % intervals, thin gray marks the
            share of all pairs.
    """
    if table.empty:
        return note(NO_LABELS)
    reported = []
    with style():
        figure, (panel,) = panels(1, height=2.6)
        parts = table.groupby("dataset", sort=False)
        for (name, line), (color, marker, dash) in zip(parts, looks_of_series(), strict=False):
            line = line.sort_values("length")
            label = f"{name} ({sample_size(line)})"
            panel.plot(line["length"], line["value"], color=color, marker=marker, ls=dash, label=label)
            panel.fill_between(line["length"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel.plot(line["length"], line["chance"], color=GRAY, marker="_", ls="none", markersize=7)
            first, last, chance = line["value"].iloc[0], line["value"].iloc[-1], line["chance"].iloc[-1]
            reported.append(f"{first:.0%} to {last:.0%} on {name} (all pairs {chance:.0%})")
        panel.set_ylim(bottom=0)
        panel.set_xlabel("tokens compared")
        panel.set_ylabel("label of the nearest (share)")
        panel_title(panel, "gray: all pairs", 46)
        figure.legend(loc="outside lower center")
    return Plot(figure, f"The nearest by ids has the same label, from few tokens to all: {'; '.join(reported)}.")


def closest_pairs(pairs: pd.DataFrame) -> Plot:
    """Show the pairs of images with the most ids in common, of the first data set whose images may be shown.

    Args:
        pairs: columns dataset, images, pair, shared, image and neighbor (PNG files as bytes, or null).
    """
    if pairs.empty:
        return note(NO_IDS)
    shown = pairs.loc[pairs["image"].notna()]
    if shown.empty:
        return note(NO_PICTURES)
    name = shown["dataset"].iloc[0]
    shown = shown.loc[shown["dataset"] == name]
    count = len(shown)
    with style():
        figure = Figure(figsize=(WIDE, 0.6 + 1.9 * WIDE / max(count, 6)), layout="constrained")
        axes = figure.subplots(2, count, squeeze=False)
        for column, (_, pair) in enumerate(shown.iterrows()):
            for panel, kind in zip(axes[:, column], ("image", "neighbor"), strict=True):
                panel.imshow(imread(io.BytesIO(bytes(pair[kind])), format="png"), interpolation="nearest")
                panel.set_axis_off()
            axes[0, column].set_title(f"{pair['shared']:.0%}")
        figure.suptitle(f"share of ids in common, closest pairs of {name} ({sample_size(shown)})")
    low, high = shown["shared"].min(), shown["shared"].max()
    return Plot(figure, f"The {count} closest pairs of {name} have {low:.0%} to {high:.0%} of their ids in common.")


def card(use: pd.DataFrame) -> CardFigure:
    """Draw perplexity against tokens by data set, for the study's card.

    Args:
        use: see `codebook_use`.
    """
    if use.empty:
        return no_card(NO_IDS)
    rows = use.loc[use["measure"] == "perplexity"]
    last = rows.loc[rows["dataset"] == rows["dataset"].iat[0]].sort_values("length").iloc[-1]
    share = f"{last['value']:.0%} of the codebook"
    return line_card(
        f"With {last['length']} tokens, ids of {last['dataset']} have a perplexity of {share}.",
        rows,
        series="dataset",
        across="length",
        x="tokens",
        y="perplexity, share of the codebook",
        shares="y",
    )


def _shares(figure: Figure, panel: Axes, table: pd.DataFrame, label: str) -> None:
    """Draw a table of shares from 0 to 1 as colors, with a bar beside the panel that says what they mean."""
    places = (table.columns.to_numpy(), table.index.to_numpy())
    cells = panel.pcolormesh(*places, table.to_numpy(), cmap="crest", vmin=0, vmax=1)
    figure.colorbar(cells, ax=panel, label=label, pad=0.02)
