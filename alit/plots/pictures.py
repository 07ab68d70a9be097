"""Pictures side by side, in rows and columns."""

import io
import math
from collections.abc import Sequence
from textwrap import wrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from alit.plots.style import EDGE, WIDE, Plot, note, style

NO_PICTURES = "no pictures: this run kept none of composed scenes, and photographs are not this repository's to show"
MOST_COLUMNS = 8  # side by side; more would leave no room for their names


def picture_grid(pictures: pd.DataFrame) -> Plot:
    """Draw pictures in rows and columns, in the order of their first appearance; places without a picture stay empty.

    More than `MOST_COLUMNS` columns are parted into blocks below each other, each with the originals.

    Args:
        pictures: columns picture (PNG files as bytes), l1 (in [0, 1]; not written where it is 0), dataset, image_id,
            and row and column, in words (`alit.analysis.pictures`).
    """
    if pictures.empty:
        return note(NO_PICTURES)
    rows, columns = (list(dict.fromkeys(pictures[name])) for name in ("row", "column"))
    changed = set(pictures.loc[pictures["l1"] > 0, "column"])
    blocks = column_blocks(columns, next((name for name in columns if name not in changed), None))
    size = min((WIDE - 0.5) / len(blocks[0]), 1.1)
    with style():
        height = 0.45 + (size + 0.18) * len(rows)
        figure = Figure(figsize=(WIDE, height * len(blocks)), layout="constrained")
        axes = figure.subplots(len(rows) * len(blocks), len(blocks[0]), squeeze=False)
        for panel in axes.flat:
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        for number, block in enumerate(blocks):
            below = axes[number * len(rows) :]
            for place, name in enumerate(rows):
                below[place, 0].set_ylabel("\n".join(wrap(name, 14)), fontsize=6.5)
            for place, name in enumerate(block):
                below[0, place].set_title("\n".join(wrap(name.replace("_", "_ "), 12)).replace("_ ", "_"), fontsize=7)
            for each in pictures.loc[pictures["column"].isin(block)].to_dict("records"):
                _draw(below[rows.index(each["row"]), block.index(each["column"])], each["picture"], each["l1"])
    images = len(pictures["image_id"].unique())
    sets = ", ".join(dict.fromkeys(pictures["dataset"]))
    return Plot(figure, f"{images} images of {sets}: {', '.join(columns)}, side by side.")


def column_blocks(columns: Sequence[str], original: str | None) -> list[list[str]]:
    """Part columns into blocks of about as many, at most `MOST_COLUMNS`; `original` is in each, first or last."""
    others = [name for name in columns if name != original]
    originals = [] if original is None else [original]
    count = max(1, math.ceil(len(others) / (MOST_COLUMNS - len(originals))))
    size = max(1, math.ceil(len(others) / count))
    parts = [others[start : start + size] for start in range(0, max(len(others), 1), size)]
    return [originals + part if columns[0] == original else part + originals for part in parts]


def _draw(panel: Axes, picture: bytes, l1: float) -> None:
    panel.imshow(imread(io.BytesIO(bytes(picture)), format="png"), interpolation="nearest")
    if l1 > 0:
        panel.set_xlabel(f"L1 {l1:.3f}", fontsize=6, color=EDGE, labelpad=1)
