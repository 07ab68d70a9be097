"""The pictures that front page and README open with: images from plain to crowded, each at the length that it needs."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from alit.analysis.grid import SweepGrid, complexity_measures
from alit.analysis.selection import SelectionCriterion, middle_threshold, select
from alit.report.site import IMAGES, Site

SHOWN = 8


class Need(NamedTuple):
    """What an image needs: the fewest tokens whose L1 is below a threshold, or all."""

    image_id: str
    place: int  # among the lengths
    length: int
    satisfied: bool
    l1: float  # at that length


class Gallery(NamedTuple):
    """Images from plain to crowded."""

    threshold: float  # of L1, pixels in [0, 1]
    measure: str  # that orders the images, in words
    needs: list[Need]


def needs_from_plain_to_crowded(grid: SweepGrid, thresholds: Sequence[float], image_ids: Sequence[str]) -> Gallery:
    """Choose `SHOWN` of the images evenly over their complexity, and find what each needs for a middle L1 threshold.

    Neither the choice nor the threshold (`middle_threshold` over all images of the grid) looks at reconstructions.

    Args:
        grid: images of one data set, with L1 at every length.
        thresholds: of L1, pixels in [0, 1], to take the middle one of.
        image_ids: images that there are pictures of; those that the grid lacks are left out.

    Returns:
        No needs where no measure of complexity is known of all these images.
    """
    threshold = middle_threshold(grid, thresholds)
    pictured = grid.subset(grid.images["image_id"].isin(list(image_ids)).to_numpy(dtype=bool))
    column, label = next(iter(complexity_measures(pictured).items()), ("", ""))
    if not column or not len(pictured):
        return Gallery(threshold, label, [])
    selection = select(pictured, SelectionCriterion("l1"), threshold)
    ordered = np.argsort(pictured.per_image(column), kind="stable")
    chosen = ordered[np.unique(np.linspace(0, len(ordered) - 1, SHOWN).round().astype(int))]
    needs = [
        Need(
            image_id=str(pictured.images["image_id"].iloc[row]),
            place=int(selection.positions[row]),
            length=int(selection.lengths[row]),
            satisfied=bool(selection.satisfied[row]),
            l1=float(pictured.score("l1")[row, selection.positions[row]]),
        )
        for row in chosen
    ]
    return Gallery(threshold, label, needs)


class Pictures(NamedTuple):
    """Two files below the site, and what they show."""

    need: Need
    original: str
    rebuilt: str


def write_pictures(site: Site, needs: Sequence[Need], thumbnails: pd.DataFrame) -> list[Pictures]:
    """Write the original and the reconstruction of each image as PNG files.

    Args:
        site: where they go.
        needs: of images that have thumbnails.
        thumbnails: columns image_id and strip, see `alit.tokenizer.thumbnails`.
    """
    folder = f"{IMAGES}/gallery"
    (site.folder / folder).mkdir(parents=True, exist_ok=True)
    strips = dict(zip(thumbnails["image_id"], thumbnails["strip"], strict=True))
    written = []
    for number, need in enumerate(needs):
        names = [f"{folder}/{number:02d}_{kind}.png" for kind in ("original", "rebuilt")]
        with Image.open(io.BytesIO(strips[need.image_id])) as strip:
            side = strip.height
            for name, frame in zip(names, (0, 1 + need.place), strict=True):
                strip.crop((frame * side, 0, (frame + 1) * side, side)).save(site.folder / name)
        written.append(Pictures(need, *names))
    return written
