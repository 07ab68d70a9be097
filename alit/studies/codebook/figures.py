"""Use of the latent codebook, tokens kept between iterations, and images with ids in common (ICLR version, Fig. 22)."""

import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from alit.plots.style import (
    BAND,
    GRAY,
    WIDE,
    distinct,
    ends,
    evenly,
    groups,
    looks_of_series,
    most,
    note_figure,
    numbers,
    panel_title,
    panels,
    reach,
    rows,
    sequence,
    style,
    word,
)

LINES = 4  # iterations in one panel
NO_IDS = "not measurable here: no token ids"
NO_PICTURES = "no pictures: none of these sets' images may be shown"


def codebook_usage(curves: pd.DataFrame) -> Figure:
    """Draw how often codes are used, most frequent first, one line per iteration, one panel per data set.

    Args:
        curves: columns dataset, images, length, rank (share of the codebook), frequency (multiple of the uniform one).
    """
    if curves.empty:
        return note_figure(NO_IDS)
    lengths = evenly(numbers(curves, "length"), LINES)
    with style():
        figure, axes = panels(distinct(curves, "dataset"), sharex=True, sharey=True)
        for panel, (name, part) in zip(axes, groups(curves, "dataset"), strict=True):
            panel.axhline(1, color=GRAY, lw=0.8, ls=":")
            for length, color in zip(lengths, sequence(len(lengths)), strict=True):
                line = rows(part, (part["length"] == length) & (part["frequency"] > 0))
                panel.plot(line["rank"], line["frequency"], color=color, label=f"{length:g} tokens")
            panel.set_yscale("log")
            panel.set_xlim(0, 1)
            panel_title(panel, f"{name} (n = {most(part, 'images')})")
            panel.set_xlabel("codes by rank (share)")
        figure.supylabel("frequency (uniform use = 1)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def codebook_use(use: pd.DataFrame) -> Figure:
    """Draw perplexity and occurring codes against tokens, one line per data set; bands are 95 % intervals.

    Args:
        use: columns dataset, images, length, measure, label, value, low, high.
    """
    if use.empty:
        return note_figure(NO_IDS)
    looks = dict(zip([name for name, _ in groups(use, "dataset")], looks_of_series(), strict=False))
    with style():
        figure, axes = panels(distinct(use, "measure"), columns=2, sharey=True)
        for panel, (_, part) in zip(axes, groups(use, "measure"), strict=True):
            for name, line in groups(part, "dataset"):
                color, marker, dash = looks[name]
                label = f"{name} (n = {most(line, 'images')})"
                panel.plot(line["length"], line["value"], color=color, marker=marker, ls=dash, label=label)
                panel.fill_between(line["length"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel.set_ylim(0, 1.03)
            panel.set_xlabel("tokens")
            panel_title(panel, word(part, "label"), 46)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def kept_tokens(kept: pd.DataFrame, shares: pd.DataFrame) -> Figure:
    """Draw which tokens of the first data set an iteration keeps, and the share kept of each data set.

    Args:
        kept: columns dataset, images, iteration, position, kept, chance.
        shares: columns dataset, images, iteration, value, low, high, chance; bars are 95 % intervals, thin gray marks
            are what would be kept by chance.
    """
    if kept.empty:
        return note_figure(NO_IDS)
    name, first = next(groups(kept, "dataset"))
    table = first.pivot_table(values="kept", index="iteration", columns="position")
    with style():
        figure, (left, right) = panels(2, columns=2, height=2.6)
        cells = left.pcolormesh(
            table.columns.to_numpy(), table.index.to_numpy(), table.to_numpy(), cmap="crest", vmin=0, vmax=1
        )
        figure.colorbar(cells, ax=left, label="share of images that keep it", pad=0.02)
        panel_title(left, f"{name} (n = {most(first, 'images')})", 46)
        left.set_xlabel("latent token")
        left.set_ylabel("iteration")
        for (label, line), (color, marker, dash) in zip(groups(shares, "dataset"), looks_of_series(), strict=False):
            look = {"color": color, "marker": marker, "ls": dash, "label": f"{label} (n = {most(line, 'images')})"}
            right.plot(line["iteration"], line["value"], **look)
            right.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            right.plot(line["iteration"], line["chance"], color=GRAY, marker="_", ls="none", markersize=7)
        right.set_ylim(0, 1)
        right.set_xlabel("iteration")
        right.set_ylabel("share of earlier tokens kept")
        panel_title(right, "gray: expected by chance", 46)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def nearest_images(nearest: pd.DataFrame, agreement: pd.DataFrame) -> Figure:
    """Draw how many ids images share with their nearest, and how often the two have the same label.

    Args:
        nearest: columns dataset, images, shared, chance; one row per image, drawn cumulated.
        agreement: columns dataset, value, low, high, chance; one row per set with labels, bars are 95 % intervals.
    """
    if nearest.empty:
        return note_figure(NO_IDS)
    looks = dict(zip([name for name, _ in groups(nearest, "dataset")], looks_of_series(), strict=False))
    with style():
        figure, (left, right) = panels(2, columns=2, height=2.6)
        for name, part in groups(nearest, "dataset"):
            color, _, dash = looks[name]
            left.ecdf(numbers(part, "shared"), color=color, ls=dash, label=f"{name} (n = {most(part, 'images')})")
            left.plot(numbers(part, "chance")[0], 0, color=color, marker="|", ls="none", clip_on=False, markersize=9)
        left.set_xlim(0, 1)
        left.set_xlabel("share of ids in common with the nearest\n(strokes on the axis: mean over all pairs)")
        left.set_ylabel("share of images")
        for place, (name, row) in enumerate(groups(agreement, "dataset")):
            color, marker, _ = looks[name]
            right.errorbar(row["value"], [-place], xerr=reach(row), fmt=marker, color=color, capsize=2)
            right.plot(row["chance"], [-place], color=GRAY, marker="|", ls="none", markersize=12)
        right.set_yticks(-np.arange(len(agreement)), labels=list(agreement["dataset"]))
        right.set_xlim(left=0)
        right.margins(y=0.3)
        right.locator_params(axis="x", nbins=5)
        right.set_xlabel("nearest image has the same label (share)\n(gray strokes: all pairs)")
        if agreement.empty:
            right.text(0.5, 0.5, "labels unknown", ha="center", transform=right.transAxes)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def closest_pairs(pairs: pd.DataFrame) -> Figure:
    """Show the pairs of images with the most ids in common, of the first data set whose images may be shown.

    Args:
        pairs: columns dataset, images, pair, shared, image and neighbor (PNG files as bytes, or null).
    """
    shown = rows(pairs, pairs["image"].notna())
    if shown.empty:
        return note_figure(NO_PICTURES if len(pairs) else NO_IDS)
    name, shown = next(groups(shown, "dataset"))
    count = len(shown)
    with style():
        figure = Figure(figsize=(WIDE, 0.6 + 1.9 * WIDE / max(count, 6)), layout="constrained")
        axes = figure.subplots(2, count, squeeze=False)
        for column, (_, pair) in enumerate(shown.iterrows()):
            for panel, kind in zip(axes[:, column], ("image", "neighbor"), strict=True):
                panel.imshow(imread(io.BytesIO(bytes(pair[kind])), format="png"), interpolation="nearest")
                panel.set_axis_off()
            axes[0, column].set_title(f"{pair['shared']:.0%}")
        figure.suptitle(f"share of ids in common, closest pairs of {name} (n = {most(shown, 'images')})")
    return figure


def codebook_usage_alt(curves: pd.DataFrame) -> str:
    """Say which share of the codebook carries half of the tokens at full length."""
    if curves.empty:
        return f"{NO_IDS.capitalize()}."
    shares = []
    for name, part in groups(rows(curves, curves["length"] == most(curves, "length")), "dataset"):
        summed = numbers(part, "frequency").cumsum()
        half = numbers(part, "rank")[int(np.argmax(summed >= summed[-1] / 2))]
        shares.append(f"{half:.0%} on {name}")
    return f"At full length, half of all tokens are the most frequent codes, of the codebook: {'; '.join(shares)}."


def codebook_use_alt(use: pd.DataFrame) -> str:
    """Say how each measure changes from the first to the last iteration."""
    if use.empty:
        return f"{NO_IDS.capitalize()}."
    changes = []
    for _, part in groups(use, "measure"):
        for name, line in groups(part, "dataset"):
            start, end = ends(line, "value", by="length")
            changes.append(f"{word(part, 'measure')} from {start:.0%} to {end:.0%} of the codebook on {name}")
    return f"From the shortest to the longest length, {'; '.join(changes)}."


def kept_tokens_alt(shares: pd.DataFrame) -> str:
    """Say how many of the earlier tokens the first and the last iteration keep, and how many chance would."""
    if shares.empty:
        return f"{NO_IDS.capitalize()}."
    words = []
    for name, line in groups(shares, "dataset"):
        start, end = ends(line, "value", by="iteration")
        words.append(f"{start:.0%} then {end:.0%} on {name} (chance {numbers(line, 'chance').mean():.0%})")
    first, last = int(numbers(shares, "iteration").min()), most(shares, "iteration")
    return f"Share of the earlier tokens that iteration {first} and iteration {last} keep: {'; '.join(words)}."


def nearest_images_alt(nearest: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """Say how many ids nearest images share and how often their labels agree, beside all pairs."""
    if nearest.empty:
        return f"{NO_IDS.capitalize()}."
    shared = [
        f"{numbers(part, 'shared').mean():.0%} on {name} (all pairs {numbers(part, 'chance')[0]:.0%})"
        for name, part in groups(nearest, "dataset")
    ]
    same = [
        f"{row['value'].iloc[0]:.0%} on {name} (all pairs {row['chance'].iloc[0]:.0%})"
        for name, row in groups(agreement, "dataset")
    ]
    agree = f"; they have the same label in {'; '.join(same)}" if same else ""
    return f"An image and its nearest have in common, of their ids: {'; '.join(shared)}{agree}."


def closest_pairs_alt(pairs: pd.DataFrame) -> str:
    """Say how many ids the shown pairs share."""
    shown = rows(pairs, pairs["image"].notna())
    if shown.empty:
        return f"{(NO_PICTURES if len(pairs) else NO_IDS).capitalize()}."
    name, shown = next(groups(shown, "dataset"))
    low, high = numbers(shown, "shared").min(), numbers(shown, "shared").max()
    return f"The {len(shown)} closest pairs of {name} have {low:.0%} to {high:.0%} of their ids in common."
