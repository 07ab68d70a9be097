"""Example images and their reconstructions as PNG files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from alit.errors import DataError


class Picture(NamedTuple):
    """One picture of the reconstructions page."""

    file: str  # path below the site
    alt: str
    length: int | None  # latent tokens; None for the original
    l1: float | None  # mean absolute error in [0, 1] against the original


class Example(NamedTuple):
    """One image: the original, then its reconstructions, shortest first."""

    image_id: str
    pictures: tuple[Picture, ...]


def write_examples(examples: Path, site: Path, folder: str) -> tuple[tuple[int, ...], tuple[Example, ...]]:
    """Write the pictures of `examples.npz` below `site/folder`; return the lengths and what to show.

    Raises:
        DataError: the examples are not there.
    """
    if not (examples / "examples.npz").is_file():
        raise DataError(f"expected {examples / 'examples.npz'}, found none; run: dvc repro examples")
    (site / folder).mkdir(parents=True, exist_ok=True)
    errors = (
        pd.read_csv(examples / "examples.csv", dtype={"image_id": str})
        .set_index(["image_id", "length"])["l1"]
        .to_dict()
    )
    shown = []
    with np.load(examples / "examples.npz") as arrays:
        lengths = tuple(int(length) for length in arrays["lengths"])
        originals, reconstructions = arrays["originals"], arrays["reconstructions"]
        for row, image_id in enumerate(arrays["image_ids"].astype(str)):
            stem = f"{folder}/{row:02d}"
            pictures = [_write(originals[row], site, f"{stem}_original.png", f"{image_id}, the original")]
            for column, length in enumerate(lengths):
                l1 = float(errors[image_id, length])
                alt = f"{image_id} rebuilt from {length} tokens, L1 {l1:.3f}"
                picture = _write(reconstructions[row, column], site, f"{stem}_{length:03d}.png", alt)
                pictures.append(picture._replace(length=length, l1=l1))
            shown.append(Example(image_id, tuple(pictures)))
    return lengths, tuple(shown)


def _write(array: np.ndarray, site: Path, file: str, alt: str) -> Picture:
    Image.fromarray(array).save(site / file)
    return Picture(file, alt, None, None)
