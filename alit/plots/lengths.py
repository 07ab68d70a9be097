"""How many images get how many tokens (paper, section 4)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import PALETTE, note_figure, panels, style
from alit.plots.tables import distinct, evenly, groups, numbers, rows

PANELS = 4


def selected_lengths(counts: pd.DataFrame) -> Figure:
    """Draw the share of images by selected length, one panel per threshold; hatched images satisfy it at no length.

    Args:
        counts: columns threshold, length, images, share, unsatisfied.
    """
    if counts.empty:
        return note_figure("not measurable here: no thresholds")
    total = int(numbers(counts, "images").sum() / distinct(counts, "threshold"))
    with style():
        chosen = _telling(counts)
        figure, axes = panels(len(chosen), columns=4, height=2.0, sharey=True)
        for panel, threshold in zip(axes, chosen, strict=True):
            part = rows(counts, counts["threshold"] == threshold)
            places, never = np.arange(len(part)), part["unsatisfied"].to_numpy()
            met = part["share"].to_numpy() - never
            panel.bar(places, met, color=PALETTE[0])
            look = {"color": "white", "edgecolor": PALETTE[5], "hatch": "////", "lw": 0.8}
            drawn = never > 0
            panel.bar(places[drawn], never[drawn], bottom=met[drawn], **look)
            step = max(1, len(part) // 4)
            ticks = places[::-step][::-1]
            panel.set_xticks(ticks, labels=[str(length) for length in part["length"].to_numpy()[ticks]])
            panel.set_title(f"L1 < {threshold:g}")
            panel.set_xlabel("tokens")
        axes[0].set_ylabel("share of images")
        figure.suptitle(f"n = {total}; hatched: the longest length, which does not satisfy either")
    return figure


def selected_lengths_alt(counts: pd.DataFrame) -> str:
    """Say the mean length and the share never satisfied at each shown threshold."""
    if counts.empty:
        return "Not measurable here: no thresholds."
    words = []
    for threshold in _telling(counts):
        part = rows(counts, counts["threshold"] == threshold)
        mean = (part["length"] * part["share"]).sum()
        words.append(f"{mean:.3g} tokens at L1 < {threshold:g} ({part['unsatisfied'].sum():.0%} never satisfied)")
    return f"Mean selected length: {'; '.join(words)}."


def _telling(counts: pd.DataFrame) -> list[float]:
    """Choose at most `PANELS` thresholds, evenly over those at which not all images get the same length."""
    largest = {threshold: numbers(part, "share").max() for threshold, part in groups(counts, "threshold")}
    telling = [threshold for threshold, share in largest.items() if share < 0.98]
    return evenly(np.array(telling or list(largest)), PANELS)
