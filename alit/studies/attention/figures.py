"""Token attention: overlap with segments compared with controls, sparsity of the maps (paper, Tab. 2, Fig. 9, 13)."""

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alit.plots.card import CardFigure, interval_card, no_card
from alit.plots.style import (
    BAND,
    DASHES,
    EDGE,
    GRAY,
    MARKERS,
    PALETTE,
    WIDE,
    Plot,
    error_bars,
    evenly,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

NOTHING = "not measurable here: no table of attention maps"
WITHHELD = "left out: the terms of these pictures forbid publishing them"
NOT_HALTED = "not measurable here: no rollouts with halting (attention.halting is 0, or the tokenizer makes one pass)"
TRACE = ["dataset", "image_id", "among"]  # columns that name one latent of one picture
AMONG = {"first_latents": "of the first", "latents": "of all"}
COLUMNS = 5  # iterations next to one picture
TERMS = "These pictures come from a data set with terms of its own: keep them to yourself."


def attention_overlap(overlap: pd.DataFrame) -> Plot:
    """Draw mIoU by iteration, one line per source of maps, one panel per rule and data set; bands are 95 % intervals.

    Panels have scales of their own: how much of a map a rule keeps bounds what any map can reach. The masks' line is
    that bound; a rule that lets a map choose how much it keeps has none.

    Args:
        overlap: columns dataset, images, setting, source, label, iteration, value, low, high.
    """
    if overlap.empty:
        return note(NOTHING)
    looks = [*zip(PALETTE, MARKERS, DASHES, strict=True), (GRAY, "x", "-"), (EDGE, "", ":")]
    look_of = dict(zip(overlap["source"].unique(), looks, strict=False))
    with style():
        parts = [
            (name, setting, part)
            for name, each in overlap.groupby("dataset", sort=False)
            for setting, part in each.groupby("setting", sort=False)
        ]
        figure, axes = panels(len(parts), columns=5, height=1.9, sharex=True)
        for panel, (name, setting, part) in zip(axes, parts, strict=True):
            for source, line in part.groupby("source", sort=False):
                color, marker, dash = look_of[source]
                width = 1.8 if source == "latents" else 1.0
                look = {"color": color, "marker": marker, "ls": dash, "lw": width, "markersize": 3}
                panel.plot(line["iteration"], line["value"], label=line["label"].iloc[0], **look)
                if source != "masks":  # a bound, whose interval would cover what lies below it
                    panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel_title(panel, f"{name} ({sample_size(part)}): {setting}", 17)
            panel.set_ylim(bottom=0)
            panel.locator_params(axis="x", integer=True, nbins=5)
        for panel in axes[-5:]:
            panel.set_xlabel("iteration")
        figure.supylabel("mIoU of the best map of each mask (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return Plot(figure, _describe_overlap(overlap))


def _describe_overlap(overlap: pd.DataFrame) -> str:
    """Describe where mIoU starts and ends for the latents, and the best control, at the first rule of each data set."""
    first, changes = overlap["setting"].iloc[0], []
    for name, part in overlap.loc[overlap["setting"] == first].groupby("dataset", sort=False):
        own = part.loc[part["source"] == "latents"].sort_values("iteration")["value"]
        others = part.loc[~part["source"].isin(["latents", "first_latents", "masks"])]
        best = others.loc[others["iteration"] == others["iteration"].max()].sort_values("value").iloc[-1]
        highest = f"highest control at the last: {best['label']}, {best['value']:.1f} %"
        changes.append(f"{own.iloc[0]:.1f} to {own.iloc[-1]:.1f} % on {name} ({highest})")
    return f"mIoU of the latents' maps over the iterations, {first} kept: {'; '.join(changes)}."


def attention_lead(lead: pd.DataFrame) -> Plot:
    """Draw how far the latents' maps are above each control, one panel per rule; bars are 95 % intervals.

    Args:
        lead: columns dataset, images, setting, source, label, iteration, value, low, high.
    """
    if lead.empty:
        return note(NOTHING)
    controls = list(lead["label"].unique())
    with style():
        figure, axes = panels(len(lead["setting"].unique()), columns=4, height=1.8, sharey=True)
        for panel, (setting, part) in zip(axes, lead.groupby("setting", sort=False), strict=True):
            lines = list(part.groupby("dataset", sort=False))
            for number, (name, dots) in enumerate(lines):
                shift = 0.5 * (number + 0.5) / len(lines) - 0.25
                places = [-controls.index(label) - shift for label in dots["label"]]
                look = {"fmt": MARKERS[number], "color": PALETTE[number], "lw": 1, "markersize": 3.5}
                look["label"] = f"{name} ({sample_size(dots)}), iteration {dots['iteration'].max()}"
                panel.errorbar(dots["value"].to_numpy(), places, xerr=error_bars(dots), **look)
            panel.axvline(0, color=GRAY, lw=0.8)
            panel.set_yticks([-i for i in range(len(controls))], labels=controls)
            panel.locator_params(axis="x", nbins=3)
            panel_title(panel, str(setting), 18)
        for panel in axes[-4:]:
            panel.set_xlabel("points of mIoU")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    first, closest = lead["setting"].iloc[0], []  # the smallest lead on each data set, at the first rule
    for name, part in lead.loc[lead["setting"] == first].groupby("dataset", sort=False):
        row = part.sort_values("value").iloc[0]
        interval = f"{row['value']:+.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        closest.append(f"{interval} points over {row['label']} on {name}")
    alt = f"Smallest lead of the latents' maps at the last iteration, {first} kept: {'; '.join(closest)}."
    return Plot(figure, alt)


def card(lead: pd.DataFrame) -> CardFigure:
    """Draw how far the latents' maps of one data set are above each control, for the study's card.

    Args:
        lead: see `attention_lead`; the first data set and rule are drawn.
    """
    if lead.empty:
        return no_card(NOTHING)
    rows = lead.loc[(lead["dataset"] == lead["dataset"].iat[0]) & (lead["setting"] == lead["setting"].iat[0])]
    closest = rows.sort_values("value").iloc[0]
    better = "better" if closest["value"] > 0 else "worse"
    return interval_card(
        f"The latents' maps fit masks {abs(closest['value']):.1f} points of mIoU {better} than the control that fits "
        f"them best, {closest['label']}.",
        rows.assign(row=rows["label"], series=""),
        x=f"mIoU of the latents' maps above, points ({sample_size(rows)})",
        reference=0,
    )


def attention_sparsity(sparsity: pd.DataFrame) -> Plot:
    """Draw entropy and Gini index of the maps by iteration, a line per data set and source; bands are 95 % intervals.

    The layer is the one whose maps are compared with masks.

    Args:
        sparsity: columns dataset, images, shown, source, label, measure, iteration, value, low, high.
    """
    if sparsity.empty:
        return note(NOTHING)
    sparsity = sparsity.loc[sparsity["shown"].to_numpy(bool)]
    titles = {"entropy": "entropy, share of the maximum ↓ sparser", "gini": "Gini index ↑ sparser"}
    with style():
        figure, axes = panels(len(sparsity["measure"].unique()), columns=2, height=2.2, sharex=True)
        for panel, (measure, part) in zip(axes, sparsity.groupby("measure", sort=False), strict=True):
            lines = part.groupby(["dataset", "source"], sort=False)
            for (_, line), (color, marker, dash) in zip(lines, looks_of_series(), strict=False):
                label = f"{line['label'].iloc[0]}, {line['dataset'].iloc[0]} ({sample_size(line)})"
                panel.plot(line["iteration"], line["value"], color=color, marker=marker, ls=dash, label=label)
                panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel_title(panel, titles[str(measure)], 46)
            panel.set_xlabel("iteration")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    changes = []
    for name, part in sparsity.loc[sparsity["source"] == sparsity["source"].iloc[0]].groupby("dataset", sort=False):
        ranges = []
        for measure, line in part.groupby("measure", sort=False):
            values = line.sort_values("iteration")["value"]
            ranges.append(f"{measure} {values.iloc[0]:.3f} to {values.iloc[-1]:.3f}")
        changes.append(f"{' and '.join(ranges)} on {name}")
    return Plot(figure, f"Over the iterations, for the {sparsity['label'].iloc[0]}: {'; '.join(changes)}.")


def attention_layers(sparser: pd.DataFrame) -> Plot:
    """Draw how much sparser maps become over the iterations in each layer; above 0 is sparser, bars are 95 % intervals.

    The entropy is a share of its maximum. The gray line marks the layer whose maps are compared with masks.

    Args:
        sparser: columns dataset, images, layer, shown, source, label, measure, value, low, high.
    """
    if sparser.empty:
        return note(NOTHING)
    titles = {
        "entropy": "fall of the entropy ↑ sparser",
        "gini": "rise of the Gini index ↑ sparser",
    }
    with style():
        figure, axes = panels(len(sparser["measure"].unique()), columns=2, height=2.2, sharex=True)
        for panel, (measure, part) in zip(axes, sparser.groupby("measure", sort=False), strict=True):
            series = list(part.groupby(["dataset", "source"], sort=False))
            panel.axhline(0, color=GRAY, lw=0.8)
            panel.axvline(part.loc[part["shown"].to_numpy(bool), "layer"].iloc[0], color=GRAY, lw=0.8, ls=":")
            for number, ((_, dots), (color, marker, _)) in enumerate(zip(series, looks_of_series(), strict=False)):
                shift = 0.4 * (number + 0.5) / len(series) - 0.2
                label = f"{dots['label'].iloc[0]}, {dots['dataset'].iloc[0]} ({sample_size(dots)})"
                look = {"fmt": marker, "color": color, "lw": 1, "markersize": 3.5, "label": label}
                panel.errorbar(dots["layer"].to_numpy(float) + shift, dots["value"], yerr=error_bars(dots), **look)
            panel_title(panel, titles[str(measure)], 46)
            panel.set_xlabel("layer of the decoder")
            panel.set_xticks(sorted(set(part["layer"])))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    counts = []
    for _, part in sparser.groupby(["dataset", "label"], sort=False):
        name, label = part["dataset"].iloc[0], part["label"].iloc[0]
        clear = part.loc[part["low"].to_numpy(float) > 0].groupby("measure").size()
        each = [f"{clear.get(measure, 0)} of {part['layer'].nunique()} by {measure}" for measure in titles]
        counts.append(f"{label} on {name}: {' and '.join(each)}")
    return Plot(figure, f"Layers in which maps become clearly sparser over the iterations; {'; '.join(counts)}.")


def attention_maps(examples: pd.DataFrame, public: bool = False) -> Plot:
    """Draw maps over pictures: a row per latent, the outlined picture first, then its map at iterations that have it.

    Each map is scaled to its own range, as the paper's are. Under it is its Jaccard index with the outlined mask.

    Args:
        examples: columns dataset, image_id, among, latent, iteration, jaccard, map, picture, outline, publishable.
        public: whether pictures are left out whose terms forbid publishing them.
    """
    if examples.empty:
        return note(NOTHING)
    if public and not examples["publishable"].to_numpy(dtype=bool).all():
        return note(WITHHELD)
    traces = [trace.sort_values("iteration") for _, trace in examples.groupby(TRACE, sort=False)]
    iterations = [int(each) for each in evenly(examples["iteration"].to_numpy(), COLUMNS)]
    pictures = len(examples["image_id"].unique())
    with style():
        side = WIDE / (1 + len(iterations))
        figure = Figure(figsize=(WIDE, (side + 0.16) * len(traces) + 0.4), layout="constrained")
        grid = figure.subplots(len(traces), 1 + len(iterations), squeeze=False)
        for line, trace in zip(grid, traces, strict=True):
            _draw_outline(line[0], trace)
            for panel, iteration in zip(line[1:], iterations, strict=True):
                _draw_map(panel, trace.loc[trace["iteration"] == iteration])
        for panel, title in zip(grid[0], ["mask", *(f"iteration {number}" for number in iterations)], strict=True):
            panel.set_title(title)
        about = f"{pictures} pictures; under each map: Jaccard index with the mask"
        shown = examples["publishable"].to_numpy(dtype=bool).all()
        figure.suptitle(about if shown else f"{about}\n{TERMS}")
    first, last = np.mean([trace["jaccard"].iloc[[0, -1]].to_numpy() for trace in traces], axis=0)
    alt = (
        f"Maps of {len(traces)} latents over {pictures} pictures, each picked for fitting its mask best at the last "
        f"iteration: mean Jaccard index {first:.3f} where they appear and {last:.3f} at the last."
    )
    return Plot(figure, alt)


def attention_halting(halting: pd.DataFrame, lengths: pd.DataFrame) -> Plot:
    """Draw what halting masks, what that would save, and what it does to L1 and to the tokens that L1 takes.

    A line per data set, or per kind of operations; bands and bars are 95 % intervals.

    Args:
        halting: columns dataset, images, measure, label, iteration, value, low, high.
        lengths: columns dataset, images, threshold, without, halting, value, low, high.
    """
    if halting.empty:
        return note(NOT_HALTED)
    with style():
        figure, axes = panels(4, columns=2, height=2.2)
        shown = (("masked", "saved", "decoding"), ("l1",), ("open_error",))
        titles = ("masked tokens and operations", "L1 with halting", "tokens that are left open")
        for panel, measures, title in zip(axes, shown, titles, strict=False):
            part = halting.loc[halting["measure"].isin(measures)]
            for ((name, label), line), (color, marker, dash) in zip(
                part.groupby(["dataset", "label"], sort=False), looks_of_series(), strict=False
            ):
                words = f"{name}: {label}" if len(measures) > 1 else str(name)
                panel.plot(line["iteration"], line["value"], color=color, marker=marker, ls=dash, label=words)
                panel.fill_between(line["iteration"], line["low"], line["high"], color=color, alpha=BAND, lw=0)
            panel.axhline(0, color=GRAY, lw=0.8)
            panel_title(panel, f"{title} ({sample_size(part)})", 46)
            panel.set_xlabel("iteration")
            panel.set_ylabel("%" if len(measures) > 1 else "change by halting (%)")
            panel.locator_params(axis="x", integer=True)
        for (name, line), (color, marker, _) in zip(
            lengths.groupby("dataset", sort=False), looks_of_series(), strict=False
        ):
            look = {"fmt": marker, "color": color, "lw": 1, "markersize": 3.5, "label": str(name)}
            axes[3].errorbar(line["threshold"], line["value"], yerr=error_bars(line), **look)
        axes[3].axhline(0, color=GRAY, lw=0.8)
        panel_title(axes[3], f"tokens that an L1 threshold takes ({sample_size(lengths)})", 46)
        axes[3].set_xlabel("L1 below")
        axes[3].set_ylabel("more tokens with halting")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=1)
    last = halting.loc[halting["iteration"] == halting["iteration"].max()]
    said = []
    for name, rows in last.groupby("dataset", sort=False):
        value = rows.set_index("measure")["value"]
        said.append(
            f"on {name} {value['masked']:.0f} % of the image tokens are masked and L1 changes by {value['l1']:+.1f} %; "
            f"leaving them out would save {value['saved']:.0f} % of the encoder's operations, knowing them adds "
            f"{value['decoding']:.0f} %"
        )
    return Plot(figure, f"Halting at the last iteration: {'; '.join(said)}.")


def attention_halted(pictures: pd.DataFrame, public: bool = False) -> Plot:
    """Draw which image tokens are masked before each iteration: a row per picture; masked tokens are dark.

    Args:
        pictures: columns dataset, image_id, iteration, halted (n bool), picture, publishable.
        public: as of `attention_maps`.
    """
    if pictures.empty:
        return note(NOT_HALTED)
    if public and not pictures["publishable"].to_numpy(dtype=bool).all():
        return note(WITHHELD)
    rows = [row.sort_values("iteration") for _, row in pictures.groupby(["dataset", "image_id"], sort=False)]
    iterations = [int(each) for each in evenly(pictures["iteration"].to_numpy(), COLUMNS)]
    shares = []
    with style():
        side = WIDE / (1 + len(iterations))
        figure = Figure(figsize=(WIDE, (side + 0.16) * len(rows) + 0.4), layout="constrained")
        grid = figure.subplots(len(rows), 1 + len(iterations), squeeze=False)
        for line, row in zip(grid, rows, strict=True):
            picture = _open(row["picture"].iloc[0])
            line[0].imshow(picture, extent=(0, 1, 1, 0), interpolation="nearest")
            _bare(line[0])
            masks = dict(zip(row["iteration"], row["halted"], strict=True))
            for panel, iteration in zip(line[1:], iterations, strict=True):
                masked = np.asarray(masks[iteration], dtype=float)
                places = round(len(masked) ** 0.5)
                panel.imshow(picture, extent=(0, 1, 1, 0), interpolation="nearest")
                cover = {"cmap": "gray_r", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
                panel.imshow(np.ones((places, places)), extent=(0, 1, 1, 0), alpha=0.85 * _square(masked), **cover)
                panel.set_xlabel(f"{100 * masked.mean():.0f} %", labelpad=2)
                _bare(panel)
            shares.append([np.mean(masks[iteration]) for iteration in iterations])
        for panel, title in zip(
            grid[0], ["picture", *(f"before iteration {each}" for each in iterations)], strict=True
        ):
            panel.set_title(title)
        about = f"{len(rows)} pictures; dark: image tokens that halting masks, with their share"
        publishable = pictures["publishable"].to_numpy(dtype=bool).all()
        figure.suptitle(about if publishable else f"{about}\n{TERMS}")
    first, last = 100 * np.mean(shares, axis=0)[[0, -1]]
    alt = f"Image tokens of {len(rows)} pictures that halting masks: {first:.0f} % before iteration {iterations[0]}"
    return Plot(figure, f"{alt}, {last:.0f} % before iteration {iterations[-1]}.")


def _square(values: np.ndarray) -> np.ndarray:
    side = round(len(values) ** 0.5)
    return values.reshape(side, side)


def _draw_outline(panel: Axes, trace: pd.DataFrame) -> None:
    picture, outline = _open(trace["picture"].iloc[0]), _open(trace["outline"].iloc[0])
    panel.imshow(picture, extent=(0, 1, 1, 0), interpolation="nearest")
    sides = (np.arange(len(outline)) + 0.5) / len(outline)
    for color, width in (("white", 2.0), ("black", 0.8)):
        panel.contour(sides, sides, outline, levels=[127], colors=color, linewidths=width)
    panel.set_ylabel(f"latent {trace['latent'].max()},\nbest {AMONG[trace['among'].iloc[0]]}")
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
