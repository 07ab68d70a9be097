"""Draw the README's picture: scenes from plain to crowded, each rebuilt from as few tokens as a common error takes.

    python -m experiments.picture -o docs/images/lengths.png

Run by hand, by no stage. The scenes are the first of the default profile's validation set, the tokenizer is that of
zoo/alit-scenes; no run is needed. Scenes with a photograph that states no license are left out (data/README.md).
"""

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image

from alit.analysis.grid import to_grid
from alit.cli import path
from alit.config import load_profile
from alit.data.images import to_images, to_pixels
from alit.data.scenes.scene import SceneSource
from alit.errors import run_command
from alit.files import require_own, write_whole
from alit.paths import project_root
from alit.plots.style import EDGE, PALETTE, style
from alit.report.gallery import needs_from_plain_to_crowded
from alit.tasks.protocol import round_to_8_bit
from alit.tokenizer.tokenizer import AdaptiveTokenizer

PROFILE, CHECKPOINT = "cpu", "zoo/alit-scenes"
SCENES = 400  # looked at
NO_LICENSE = {"motorcycle"}  # photographs that state none
WIDTH, HEIGHT, DOTS = 9.6, 2.9, 160  # inches, and dots per inch


class Example(NamedTuple):
    """A scene at the length that it needs."""

    original: np.ndarray  # uint8 (h, w, 3)
    rebuilt: np.ndarray  # uint8 (h, w, 3)
    length: int
    satisfied: bool
    photographs: frozenset[str]  # that the scene is composed from


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture, and print what it shows in words."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("-o", "--output", type=path, required=True, help="a PNG file")
    output = parser.parse_args(argv).output
    require_own(output, b"\x89PNG", kind="a PNG picture")
    root = project_root(Path.cwd())
    profile = load_profile(root / "configs" / f"{PROFILE}.yaml")
    tokenizer = AdaptiveTokenizer.from_pretrained(root / CHECKPOINT)
    scenes = SceneSource("val", "base", "val", SCENES, tokenizer.image_size)
    threshold, examples = choose(tokenizer, scenes, list(profile.analysis.l1_thresholds))
    output.parent.mkdir(parents=True, exist_ok=True)
    figure = draw(examples, threshold, tokenizer.lengths[-1])
    with style():
        figure.savefig(drawn := BytesIO(), format="png", dpi=DOTS, metadata={"Software": None})
    with Image.open(drawn) as picture:
        picture.convert("RGB").save(target := BytesIO(), "PNG", optimize=True)
    write_whole(output, target.getvalue())
    lengths = ", ".join(str(each.length) for each in examples)
    photographs = ", ".join(sorted(frozenset().union(*(each.photographs for each in examples))))
    print(f"L1 below {threshold:g}; tokens from plain to crowded: {lengths}; made from the photographs {photographs}")


def choose(
    tokenizer: AdaptiveTokenizer, scenes: SceneSource, thresholds: Sequence[float]
) -> tuple[float, list[Example]]:
    """Return the profile's middle L1 threshold on the scenes, and some of them evenly over their complexity.

    Complexity alone decides which scenes are shown, not how they look.
    """
    rows = [row for row in range(len(scenes)) if not scenes.photographs(row) & NO_LICENSE]
    pixels = np.stack([scenes.read(row) for row in rows])
    images = to_images(pixels)
    with torch.no_grad():
        steps = [(step.length, round_to_8_bit(step.images)) for step in tokenizer.reconstructions(images)]
    about = {
        "dataset": scenes.name,
        "split": "val",
        "image_id": [f"{row:06d}" for row in rows],
        "complexity": [scenes.record(row).complexity for row in rows],
    }
    tables = [
        pd.DataFrame(about | {"length": length, "l1": (rebuilt - images).abs().mean(dim=(1, 2, 3)).numpy()})
        for length, rebuilt in steps
    ]
    gallery = needs_from_plain_to_crowded(to_grid(pd.concat(tables, ignore_index=True)), thresholds, about["image_id"])
    examples = []
    for need in gallery.needs:
        place = about["image_id"].index(need.image_id)
        rebuilt = to_pixels(steps[need.place][1][place])
        photographs = scenes.photographs(rows[place])
        examples.append(Example(pixels[place], rebuilt, need.length, need.satisfied, photographs))
    return gallery.threshold, examples


def draw(examples: Sequence[Example], threshold: float, most: int) -> Figure:
    """Draw originals above reconstructions, and the number of tokens below as a bar; white behind, for any page."""
    with style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")
        axes = figure.subplots(3, len(examples), height_ratios=(1, 1, 0.25), squeeze=False)
        for number, each in enumerate(examples):
            for row, picture in enumerate((each.original, each.rebuilt)):
                axes[row, number].imshow(picture, interpolation="nearest")
                axes[row, number].set(xticks=[], yticks=[])
                axes[row, number].spines[:].set_visible(False)
            bar = axes[2, number]
            bar.barh(0, most, color="#E4E7EB", height=0.5)
            bar.barh(0, each.length, color=PALETTE[0], height=0.5)
            bar.set(xlim=(0, most), ylim=(-1.7, 0.4))
            bar.axis("off")
            words = f"{each.length} tokens" if each.satisfied else f"all {each.length}"
            bar.text(most / 2, -0.5, words, ha="center", va="top", fontsize=9, color=EDGE)
        axes[0, 0].set_ylabel("original", fontsize=9, color=EDGE)
        axes[1, 0].set_ylabel(f"L1 below {threshold:g}", fontsize=9, color=EDGE)
    return figure


if __name__ == "__main__":
    run_command(main)
