"""Pictures side by side, in rows and columns."""

import io
from textwrap import wrap

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from alit.plots.style import EDGE, WIDE, Plot, note, style

NO_PICTURES = "no pictures: this run kept none of composed scenes, and photographs are not this repository's to show"


def picture_grid(pictures: pd.DataFrame) -> Plot:
    """Draw pictures in rows and columns, in the order of their first appearance; places without a picture stay empty.

    Args:
        pictures: columns picture (PNG files as bytes), l1 (in [0, 1]; not written where it is 0), dataset, image_id,
            and row and column, in words (`alit.analysis.pictures`).
    """
    if pictures.empty:
        return note(NO_PICTURES)
    rows, columns = (list(dict.fromkeys(pictures[name])) for name in ("row", "column"))
    size = min((WIDE - 0.5) / len(columns), 1.1)
    with style():
        figure = Figure(figsize=(WIDE, 0.45 + (size + 0.18) * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        for panel in axes.flat:
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        for place, name in enumerate(rows):
            axes[place, 0].set_ylabel("\n".join(wrap(name, 14)), fontsize=6.5)
        for place, name in enumerate(columns):
            axes[0, place].set_title("\n".join(wrap(name, 12)), fontsize=7)
        for each in pictures.to_dict("records"):
            panel = axes[rows.index(each["row"]), columns.index(each["column"])]
            panel.imshow(imread(io.BytesIO(bytes(each["picture"])), format="png"), interpolation="nearest")
            if each["l1"] > 0:
                panel.set_xlabel(f"L1 {each['l1']:.3f}", fontsize=6, color=EDGE, labelpad=1)
    images = len(pictures["image_id"].unique())
    sets = ", ".join(dict.fromkeys(pictures["dataset"]))
    return Plot(figure, f"{images} images of {sets}: {', '.join(columns)}, side by side.")
