"""Token attention: overlap with segments beside controls, and how sparse the maps are (paper, Tab. 2, Fig. 9, 13)."""

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alit.plots.style import (
    BAND,
    DASHES,
    EDGE,
    GRAY,
    MARKERS,
    PALETTE,
    WIDE,
    distinct,
    ends,
    groups,
    most,
    note_figure,
    panel_title,
    panels,
    reach,
    rows,
    style,
    word,
)

NOTHING = "not measurable here: no table of attention maps"


def attention_overlap(overlap: pd.DataFrame) -> Figure:
    """Draw mIoU by iteration, one line per source of maps, one panel per rule and data set; bands are 95 % intervals.

    Panels have scales of their own: how much of a map a rule keeps limits what any map can reach.

    Args:
        overlap: columns dataset, images, setting, source, label, iteration, value, low, high.
    """
    if overlap.empty:
        return note_figure(NOTHING)
    looks = _looks(overlap)
    parts = [
        (name, setting, part) for name, each in groups(overlap, "dataset") for setting, part in groups(each, "setting")
    ]
    with style():
        figure, axes = panels(len(parts), columns=4, height=1.9, sharex=True)
        for panel, (name, setting, part) in zip(axes, parts, strict=True):
            for source, line in groups(part, "source"):
                color, marker, dash = looks[str(source)]
                width = 1.8 if source == "latents" else 1.0
                look = {"color": color, "marker": marker, "ls": dash, "lw": width, "markersize": 3}
                panel.plot(line["iteration"], line["value"], label=word(line, "label"), **look)
                if source != "masks":  # a limit, whose interval would cover what lies below it
                    panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel_title(panel, f"{name} (n = {most(part, 'images')}): {setting}", 22)
            panel.set_ylim(bottom=0)
            panel.locator_params(axis="x", integer=True, nbins=5)
        for panel in axes[-4:]:
            panel.set_xlabel("iteration")
        figure.supylabel("mIoU of the best map of each mask (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def attention_lead(lead: pd.DataFrame) -> Figure:
    """Draw how far the latents' maps are above each control, one panel per rule; bars are 95 % intervals.

    Args:
        lead: columns dataset, images, setting, source, label, iteration, value, low, high.
    """
    if lead.empty:
        return note_figure(NOTHING)
    controls = list(dict.fromkeys(lead["label"]))
    with style():
        figure, axes = panels(distinct(lead, "setting"), columns=4, height=1.8, sharey=True)
        for panel, (setting, part) in zip(axes, groups(lead, "setting"), strict=True):
            lines = list(groups(part, "dataset"))
            for number, (name, dots) in enumerate(lines):
                shift = 0.5 * (number + 0.5) / len(lines) - 0.25
                places = [-controls.index(label) - shift for label in dots["label"]]
                look = {"fmt": MARKERS[number], "color": PALETTE[number], "lw": 1, "markersize": 3.5}
                look["label"] = f"{name} (n = {most(dots, 'images')}), iteration {most(dots, 'iteration')}"
                panel.errorbar(dots["value"].to_numpy(), places, xerr=reach(dots), **look)
            panel.axvline(0, color=GRAY, lw=0.8)
            panel.set_yticks([-i for i in range(len(controls))], labels=controls)
            panel.locator_params(axis="x", nbins=3)
            panel_title(panel, str(setting), 18)
        for panel in axes[-4:]:
            panel.set_xlabel("points of mIoU")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def attention_sparsity(sparsity: pd.DataFrame) -> Figure:
    """Draw entropy and Gini index of the maps by iteration, a line per data set and source; bands are 95 % intervals.

    Args:
        sparsity: columns dataset, images, source, label, measure, iteration, value, low, high.
    """
    if sparsity.empty:
        return note_figure(NOTHING)
    titles = {"entropy": "entropy, share of the maximum ↓ sparser", "gini": "Gini index ↑ sparser"}
    with style():
        figure, axes = panels(distinct(sparsity, "measure"), columns=2, height=2.2, sharex=True)
        for panel, (measure, part) in zip(axes, groups(sparsity, "measure"), strict=True):
            lines = [line for _, each in groups(part, "dataset") for _, line in groups(each, "source")]
            for number, line in enumerate(lines):
                color, marker, dash = (look[number % len(PALETTE)] for look in (PALETTE, MARKERS, DASHES))
                label = f"{word(line, 'label')}, {word(line, 'dataset')} (n = {most(line, 'images')})"
                panel.plot(line["iteration"], line["value"], color=color, marker=marker, ls=dash, label=label)
                panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel_title(panel, titles[str(measure)], 46)
            panel.set_xlabel("iteration")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def attention_overlap_alt(overlap: pd.DataFrame) -> str:
    """Say where mIoU starts and ends for the latents and for the best control, at the first rule of each data set."""
    if overlap.empty:
        return f"{NOTHING.capitalize()}."
    changes = []
    for name, part in groups(rows(overlap, overlap["setting"] == word(overlap, "setting")), "dataset"):
        start, end = ends(rows(part, part["source"] == "latents"), "value", by="iteration")
        others = rows(part, ~part["source"].isin(["latents", "first_latents", "masks"]))
        best = rows(others, others["iteration"] == most(others, "iteration")).sort_values("value").iloc[-1]
        highest = f"highest control at the last: {best['label']}, {best['value']:.1f} %"
        changes.append(f"{start:.1f} to {end:.1f} % on {name} ({highest})")
    return f"mIoU of the latents' maps over the iterations, {word(overlap, 'setting')} kept: {'; '.join(changes)}."


def attention_lead_alt(lead: pd.DataFrame) -> str:
    """Name the control that comes closest to the latents on each data set, at the first rule."""
    if lead.empty:
        return f"{NOTHING.capitalize()}."
    closest = []
    for name, part in groups(rows(lead, lead["setting"] == word(lead, "setting")), "dataset"):
        row = part.sort_values("value").iloc[0]
        closest.append(
            f"{row['value']:+.2f} [{row['low']:.2f}, {row['high']:.2f}] points over {row['label']} on {name}"
        )
    return (
        f"Smallest lead of the latents' maps at the last iteration, {word(lead, 'setting')} kept: {'; '.join(closest)}."
    )


def attention_sparsity_alt(sparsity: pd.DataFrame) -> str:
    """Say where entropy and Gini index of the first latents start and end."""
    if sparsity.empty:
        return f"{NOTHING.capitalize()}."
    changes = []
    for name, part in groups(rows(sparsity, sparsity["source"] == word(sparsity, "source")), "dataset"):
        ranges = {measure: ends(line, "value", by="iteration") for measure, line in groups(part, "measure")}
        words = " and ".join(f"{measure} {start:.3f} to {end:.3f}" for measure, (start, end) in ranges.items())
        changes.append(f"{words} on {name}")
    return f"Over the iterations, for the {word(sparsity, 'label')}: {'; '.join(changes)}."


def _looks(overlap: pd.DataFrame) -> dict[str, tuple]:
    """Give each source of maps its color, marker and dash; the last two are gray and black."""
    sources = [str(name) for name, _ in groups(overlap, "source")]
    looks = [*zip(PALETTE, MARKERS, DASHES, strict=True), (GRAY, "x", "-"), (EDGE, "", ":")]
    return dict(zip(sources, looks, strict=False))


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
