"""What encoding and decoding one image costs: time, operations and memory against tokens."""

import pandas as pd

from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import Plot, error_bars, looks_of_series, note, panel_title, panels, sample_size, style

NOTHING = "not measurable here: no cost was measured"
QUANTITIES = {"value": "milliseconds (median)", "gflop": "GFLOP", "peak_mib": "MiB of tensors alive at once"}


def cost_by_length(costs: pd.DataFrame, operation: str) -> Plot:
    """Draw time, operations and memory of one operation against tokens, one line per tokenizer.

    Bars at times are 95 % intervals of the median over images. A tokenizer looks alike in all figures.

    Args:
        costs: columns tokenizer, operation, length, images, value, low, high, gflop, peak_mib, device, threads.
        operation: the one that is drawn.
    """
    table = costs.loc[costs["operation"] == operation]
    if table.empty:
        return note(NOTHING)
    looks = dict(zip(dict.fromkeys(costs["tokenizer"]), looks_of_series(), strict=False))
    where = _where(table)
    lines = [(name, line.sort_values("length")) for name, line in table.groupby("tokenizer", sort=False)]
    with style():
        figure, axes = panels(len(QUANTITIES), columns=3, height=2.6)
        for panel, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
            for name, line in lines:
                color, marker, dash = looks[name]
                panel.plot(line["length"], line[quantity], color=color, marker=marker, ls=dash, label=str(name))
                if quantity == "value":
                    bars = {"yerr": error_bars(line), "fmt": "none", "ecolor": color, "lw": 0.8, "capsize": 1.5}
                    panel.errorbar(line["length"].to_numpy(), line["value"].to_numpy(), **bars)
            drawn = [quantity, "high"] if quantity == "value" else [quantity]
            panel.set_ylim(0, 1.1 * table[drawn].to_numpy(dtype=float).max())
            panel.set_xlabel("tokens")
            panel_title(panel, label)
        figure.suptitle(f"{operation}: one image at a time, FP32, {where}, {sample_size(table)}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    words = []
    for name, line in lines:
        first, last = line.iloc[0], line.iloc[-1]
        longer = f" to {last['value']:.3g} ms at {last['length']}" if last["length"] > first["length"] else ""
        words.append(f"{name} {first['value']:.3g} ms at {first['length']} tokens{longer}")
    return Plot(figure, f"Time to {operation} of one image on {where}: {'; '.join(words)}.")


def card(encoding: pd.DataFrame) -> CardFigure:
    """Draw the time to encode one image to each length, for the study's card.

    Args:
        encoding: rows of one operation; columns as `cost_by_length` has them.
    """
    if encoding.empty:
        return no_card(NOTHING)
    name = encoding["tokenizer"].iat[0]
    first = encoding.loc[encoding["tokenizer"] == name].sort_values("length")
    few, many = (f"{first['value'].iat[end]:.3g} ms to {first['length'].iat[end]}" for end in (0, -1))
    return line_card(
        f"Encoding one image with {name} takes {few} tokens and {many}, on {_where(encoding)}.",
        encoding,
        series="tokenizer",
        across="length",
        x="tokens",
        y=f"ms to encode one image ({sample_size(first)})",
    )


def _where(table: pd.DataFrame) -> str:
    threads = int(table["threads"].to_numpy().max())
    if table["device"].iloc[0] != "cpu":
        return "a GPU"
    return f"a CPU, {threads} thread{'s' if threads > 1 else ''}"
