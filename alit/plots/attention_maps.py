"""Attention maps over pictures, iteration by iteration (paper, Fig. 8, 9, 13, 16)."""

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alit.plots.attention import NOTHING
from alit.plots.style import WIDE, note_figure, style
from alit.plots.tables import distinct, ends, most, rows, word

TRACE = ["dataset", "image_id", "among"]  # columns that name one latent of one picture
AMONG = {"first_latents": "of the first", "latents": "of all"}
COLUMNS = 5  # iterations beside one picture
TERMS = "These pictures come from a data set with terms of its own: keep them to yourself."


def attention_maps(examples: pd.DataFrame) -> Figure:
    """Draw maps over pictures: a row per latent, the outlined picture first, then its map at iterations that have it.

    Each map is scaled to its own range, as the paper's are. Under it stands its Jaccard index with the outlined mask.

    Args:
        examples: columns dataset, image_id, among, latent, iteration, jaccard, map, picture, outline, publishable.
    """
    if examples.empty:
        return note_figure(NOTHING)
    traces = [trace for _, trace in examples.groupby(TRACE, sort=False)]
    iterations = _spread(sorted(set(examples["iteration"])))
    with style():
        side = WIDE / (1 + len(iterations))
        figure = Figure(figsize=(WIDE, (side + 0.16) * len(traces) + 0.4), layout="constrained")
        grid = figure.subplots(len(traces), 1 + len(iterations), squeeze=False)
        for line, trace in zip(grid, traces, strict=True):
            _draw_outline(line[0], trace)
            for panel, iteration in zip(line[1:], iterations, strict=True):
                _draw_map(panel, rows(trace, trace["iteration"] == iteration))
        for panel, title in zip(grid[0], ["mask", *(f"iteration {number}" for number in iterations)], strict=True):
            panel.set_title(title)
        about = f"{distinct(examples, 'image_id')} pictures; under each map: Jaccard index with the mask"
        shown = examples["publishable"].to_numpy(dtype=bool).all()
        figure.suptitle(about if shown else f"{about}\n{TERMS}")
    return figure


def attention_maps_alt(examples: pd.DataFrame) -> str:
    """Say how well the shown latents fit their masks at their first and at the last iteration."""
    if examples.empty:
        return f"{NOTHING.capitalize()}."
    fits = [ends(trace, "jaccard", by="iteration") for _, trace in examples.groupby(TRACE)]
    first, last = np.mean(fits, axis=0)
    return (
        f"Maps of {len(fits)} latents over {distinct(examples, 'image_id')} pictures, each picked for fitting its mask "
        f"best at the last iteration: mean Jaccard index {first:.3f} where they appear and {last:.3f} at the last."
    )


def _draw_outline(panel: Axes, trace: pd.DataFrame) -> None:
    picture, outline = _open(trace["picture"].iloc[0]), _open(trace["outline"].iloc[0])
    panel.imshow(picture, extent=(0, 1, 1, 0), interpolation="nearest")
    sides = (np.arange(len(outline)) + 0.5) / len(outline)
    for color, width in (("white", 2.0), ("black", 0.8)):
        panel.contour(sides, sides, outline, levels=[127], colors=color, linewidths=width)
    panel.set_ylabel(f"latent {most(trace, 'latent')},\nbest {AMONG[word(trace, 'among')]}")
    _bare(panel)


def _draw_map(panel: Axes, row: pd.DataFrame) -> None:
    """Draw the map of one row; a latent that is still to come leaves the panel empty."""
    _bare(panel)
    if row.empty:
        return
    values = np.asarray(row["map"].iloc[0], dtype=float)
    grid = round(len(values) ** 0.5)
    panel.imshow(_open(row["picture"].iloc[0]).mean(axis=-1), extent=(0, 1, 1, 0), cmap="gray", interpolation="nearest")
    panel.imshow(values.reshape(grid, grid), extent=(0, 1, 1, 0), cmap="magma", interpolation="bilinear", alpha=0.6)
    panel.set_xlabel(f"{row['jaccard'].iloc[0]:.2f}", labelpad=2)


def _bare(panel: Axes) -> None:
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def _open(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image, dtype=float if image.mode == "L" else np.uint8)


def _spread(iterations: list[int]) -> list[int]:
    """Choose at most `COLUMNS` iterations, both ends included."""
    places = np.unique(np.linspace(0, len(iterations) - 1, COLUMNS).round().astype(int))
    return [iterations[place] for place in places]
