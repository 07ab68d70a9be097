"""One style for every figure, what figures share, and the one way they are written."""

import base64
import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

# Okabe-Ito without yellow and black, in the order whose neighbors stay furthest apart under simulated color
# blindness; marker and dash change with the color, so that hue is never the only difference.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), (0, (4, 1, 1, 1, 1, 1)))
GRAY = "#8C8C8C"
EDGE = "#333333"
WIDE, COLUMN = 6.8, 3.3  # inches: two columns and one
RESOLUTION = 200  # dots per inch
BAND = 0.18  # opacity of interval bands
ROW = 0.15  # inches per line of `dot_panels`
_OF_THE_SESSION = ("backend", "backend_fallback", "interactive", "toolbar")  # rules that say nothing of looks


@dataclass(frozen=True)
class Plot:
    """A figure and its one-sentence description; shows itself in a notebook, alt text included, and saves itself."""

    figure: Figure
    alt: str
    title: str = ""  # what the figure shows, where something else than the figure says it

    def save(self, folder: Path, name: str) -> "Plot":
        """Write `<name>.png` and `<name>.svg` with `alt` as their description; the same figure gives the same bytes.

        Dates and version strings are left out of the files, and identifiers in the SVG come from a fixed salt.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(self.png)
        with style():
            metadata = {"Date": None, "Creator": None, "Title": self.title or name, "Description": self.alt}
            self.figure.savefig(folder / f"{name}.svg", metadata=metadata)
        return self

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG file."""
        metadata = {"Software": None, "Description": self.alt} | ({"Title": self.title} if self.title else {})
        with style():
            self.figure.savefig(file := BytesIO(), format="png", metadata=metadata)
        return file.getvalue()

    def _repr_html_(self) -> str:
        image, alt = base64.b64encode(self.png).decode(), html.escape(self.alt)
        return (
            f'<figure><img alt="{alt}" src="data:image/png;base64,{image}" style="max-width: 100%">'
            f"<figcaption>{alt}</figcaption></figure>"
        )


@contextmanager
def style() -> Iterator[None]:
    """Apply the suite's look while drawing and while saving; nothing is set at import or left behind.

    It starts from matplotlib's own defaults: a matplotlibrc of the user's changes nothing.
    """
    look: dict[Any, Any] = {
        **{name: value for name, value in mpl.rcParamsDefault.items() if name not in _OF_THE_SESSION},
        **sns.axes_style("ticks"),
        **sns.plotting_context("paper"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 8.5,
        "axes.labelsize": 8.5,
        "font.size": 8.5,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "legend.title_fontsize": 7.5,
        "figure.titlesize": 8.5,
        "figure.labelsize": 8.5,
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "font.family": "DejaVu Sans",
        "svg.hashsalt": "alit",
        "svg.fonttype": "none",
        "savefig.dpi": RESOLUTION,
    }
    with mpl.rc_context(look):
        yield


def panels(
    count: int, *, columns: int = 3, height: float = 2.3, sharex: bool = False, sharey: bool | Literal["row"] = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes in rows of at most `columns`; call inside `style()`."""
    columns = min(columns, max(count, 1))
    rows = -(-max(count, 1) // columns)
    figure = Figure(figsize=(COLUMN if columns == 1 else WIDE, height * rows), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)))
    for spare in axes[count:]:
        spare.remove()
    for lowest in axes[max(count - columns, 0) : count]:
        lowest.tick_params(labelbottom=True)  # a shared axis shows its labels in the last row only, which may be short
    return figure, axes[:count]


def panel_title(panel: Axes, text: str, characters: int = 30) -> None:
    """Set a panel's title, broken into lines that fit a panel: 22, 30 or 46 characters in rows of four, three, two."""
    whole = text.replace("n = ", "n\u00a0=\u00a0")  # a number of images stays in one line
    panel.set_title("\n".join(wrap(whole, characters, break_long_words=False)).replace("\u00a0=\u00a0", " = "))


def arrow_of(better: str) -> str:
    """Return the mark behind a measure's name that says which way is better; no line is broken before it."""
    return "\u00a0↓" if better == "lower" else "\u00a0↑"


def looks_of_series() -> Iterator[tuple[str, str, str | tuple[int, tuple[float, ...]]]]:
    """Yield (color, marker, dash) of one unordered series after another, without end.

    When colors begin again, markers and dashes move on by one place: no two of the first thirty-six look the same.
    """
    count = len(PALETTE)
    for number in cycle(range(count**2)):
        turn, color = divmod(number, count)
        yield PALETTE[color], MARKERS[(color + turn) % count], DASHES[(color + turn) % count]


def heat(better: str) -> Colormap:
    """Return the colors of marks by task performance: the darker the better, whichever way the measure runs."""
    return mpl.colormaps["crest" if better == "higher" else "crest_r"]


def sequence(count: int) -> list[tuple[float, float, float, float]]:
    """Return colors of an ordered series, light to dark."""
    return [tuple(color) for color in mpl.colormaps["crest"](np.linspace(0.05, 1.0, max(count, 1)))]


def note(reason: str) -> Plot:
    """Return a small plot with the reason why there is nothing to draw; as a sentence, it is the description."""
    with style():
        figure, (axes,) = panels(1, height=1.0)
        axes.axis("off")
        axes.text(0.5, 0.5, reason, ha="center", va="center", wrap=True, color=EDGE)
    return Plot(figure, f"{reason[:1].upper()}{reason[1:]}.")


def evenly(values: np.ndarray, count: int) -> list[float]:
    """Choose at most `count` of the different values, evenly over those there are, both ends included."""
    different = np.unique(values)
    return [float(different[i]) for i in np.unique(np.linspace(0, len(different) - 1, count).round().astype(int))]


def error_bars(line: pd.DataFrame, value: str = "value", low: str = "low", high: str = "high") -> np.ndarray:
    """Return (2, n) lengths of error bars, below and above the value, from the two ends of its interval."""
    numbers = line[[value, low, high]].to_numpy(dtype=float)
    return np.abs(numbers[:, 1:] - numbers[:, :1]).T


def sample_size(table: pd.DataFrame) -> str:
    """Return "n = 3,925": over how many images the rows are, by their column images; the most where they differ."""
    return f"n = {table['images'].max():,}"


def dot_panels(table: pd.DataFrame, row: str, series: str, xlabel: str, reference: float) -> Figure:
    """Draw one panel per data set, a line of dots per value of `row`, a look per value of `series`.

    Series that share rows lie above each other within a row and are named below the panels.

    Args:
        table: columns dataset, images, value, low, high, and those that `row` and `series` name; not empty.
        row, series: columns of words, in order of first appearance.
        xlabel: what the values are.
        reference: where a gray line stands for "nothing".
    """
    names, looks = (list(dict.fromkeys(table[column])) for column in (row, series))
    shared = bool(table.duplicated(["dataset", row]).any())
    spread = np.linspace(0.28, -0.28, len(looks)) if shared else np.zeros(len(looks))
    with style():
        height = 0.8 + ROW * len(names) * (1 + 0.5 * shared * (len(looks) - 1))
        count = len(table["dataset"].unique())
        columns = 2 if count == 4 else 3  # no row of one panel
        figure, axes = panels(count, columns=columns, height=height, sharex=True, sharey=True)
        for panel, (name, part) in zip(axes, table.groupby("dataset", sort=False), strict=True):
            for number, look in enumerate(looks):
                dots = part.loc[part[series] == look]
                places = [spread[number] - names.index(word) for word in dots[row]]
                drawn = {"fmt": MARKERS[number % 6], "color": PALETTE[number % 6], "lw": 1, "markersize": 3.5}
                panel.errorbar(dots["value"].to_numpy(), places, xerr=error_bars(dots), label=look, **drawn)
            panel.axvline(reference, color=GRAY, lw=0.8)
            panel.set_yticks([-i for i in range(len(names))], labels=names)
            panel.set_ylim(-len(names) + 0.4, 0.6)  # room for all series of the first and the last row
            panel_title(panel, f"{name} ({sample_size(part)})")
            panel.set_xlabel(xlabel)
        if shared:
            legend_below(figure, axes[0])
    return figure


def legend_below(
    figure: Figure, panel: Axes, loc: Literal["outside lower center", "outside lower left"] = "outside lower center"
) -> None:
    """Name the series of a panel below the figure, in as many columns as fit into its width."""
    handles, labels = panel.get_legend_handles_labels()
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(handles, labels, loc=loc, ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= 0.96 * figure.bbox.width:
            return
        legend.remove()
