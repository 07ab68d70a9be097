"""What encoding and decoding one image costs: time, operations and memory against tokens."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alit.plots.style import (
    ends,
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

NOTHING = "not measurable here: no cost was measured"
QUANTITIES = {"value": "milliseconds (median)", "gflop": "GFLOP", "peak_mib": "MiB of tensors alive at once"}


def cost_by_length(table: pd.DataFrame, operation: str) -> Figure:
    """Draw time, operations and memory of one operation against tokens, one line per tokenizer.

    Bars at times are 95 % intervals of the median over images.

    Args:
        table: columns tokenizer, operation, length, images, value, low, high, gflop, peak_mib, device, threads.
        operation: which of its operations.
    """
    shown = rows(table, table["operation"] == operation)
    if shown.empty:
        return note_figure(NOTHING)
    with style():
        figure, axes = panels(len(QUANTITIES), columns=3, height=2.6)
        for panel, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
            for (name, line), look in zip(groups(shown, "tokenizer"), looks_of_series(), strict=False):
                _draw(panel, line.sort_values("length"), quantity, str(name), look)
            panel.set_ylim(0, 1.1 * numbers(shown, quantity).max())
            panel.set_xlabel("tokens")
            panel_title(panel, label)
        figure.suptitle(f"{operation}: one image at a time, FP32, {_where(shown)}, n = {most(shown, 'images')}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return figure


def cost_by_length_alt(table: pd.DataFrame, operation: str) -> str:
    """Say the median time of each tokenizer at its shortest and longest length."""
    shown = rows(table, table["operation"] == operation)
    if shown.empty:
        return f"{NOTHING.capitalize()}."
    words = []
    for name, line in groups(shown, "tokenizer"):
        (fewest, longest), (start, end) = ends(line, "length", by="length"), ends(line, "value", by="length")
        later = f" to {end:.3g} ms at {longest:.0f}" if longest > fewest else ""
        words.append(f"{name} {start:.3g} ms at {fewest:.0f} tokens{later}")
    return f"Time to {operation} of one image on {_where(shown)}: {'; '.join(words)}."


def _draw(
    panel: Axes,
    line: pd.DataFrame,
    quantity: str,
    label: str,
    look: tuple[str, str, str | tuple[int, tuple[float, ...]]],
) -> None:
    color, marker, dash = look
    panel.plot(line["length"], line[quantity], color=color, marker=marker, ls=dash, label=label)
    if quantity == "value":
        bars = {"yerr": reach(line), "fmt": "none", "ecolor": color, "lw": 0.8, "capsize": 1.5}
        panel.errorbar(line["length"].to_numpy(), line["value"].to_numpy(), **bars)


def _where(table: pd.DataFrame) -> str:
    threads = most(table, "threads")
    if word(table, "device") != "cpu":
        return "a GPU"
    return f"a CPU, {threads} thread{'s' if threads > 1 else ''}"
