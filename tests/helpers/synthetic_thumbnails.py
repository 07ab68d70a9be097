"""Thumbnails of images, as their stage keeps them: each strip gets lighter from frame to frame."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

SIDE, GRID, LATENTS = 8, 4, 3


def synthetic_thumbnails(image_ids: Sequence[str], lengths: int, *, publishable: bool = True) -> pd.DataFrame:
    """Return thumbnails with one frame for the original and each of so many lengths."""
    rows = []
    for number, name in enumerate(image_ids):
        generator = np.random.default_rng(number)
        color = generator.integers(0, 120, 3)
        steps = np.repeat(np.linspace(0, 120, lengths + 1), SIDE)[:, None]
        strip = np.broadcast_to(color + steps, (SIDE, (lengths + 1) * SIDE, 3))
        maps = generator.integers(0, 256, (GRID, LATENTS * GRID))
        rows.append((_file(strip, "WEBP", lossless=True), _file(maps, "PNG"), [1, 2, 4], name, publishable))
    return pd.DataFrame(rows, columns=["strip", "maps", "latents", "image_id", "publishable"])


def _file(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    Image.fromarray(pixels.astype(np.uint8)).save(file := io.BytesIO(), kind, **options)
    return file.getvalue()
