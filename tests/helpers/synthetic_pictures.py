"""Pictures of a few composed scenes by a few tokenizers, as the stage `examples` keeps them."""

import io

import numpy as np
import pandas as pd
from PIL import Image

LENGTHS = (4, 8, 16, 32)
VARIANTS = ("plain", "width", "continuous")


def synthetic_pictures(images: int = 4) -> pd.DataFrame:
    """Return the own tokenizer, two baselines and three variants; complexity falls with the number of an image."""
    parts = [_pictures("own", "own", images, LENGTHS, 10)]
    parts += [_pictures("baseline", "base", images, (64,), 10), _pictures("baseline", "jpeg", images, (5, 80), 8)]
    parts += [_pictures("variant", name, images, LENGTHS, 10) for name in VARIANTS]
    return pd.concat(parts, ignore_index=True)


def _pictures(kind: str, name: str, images: int, lengths: tuple[int, ...], bits: int) -> pd.DataFrame:
    rows = [
        {
            "kind": kind,
            "tokenizer": name,
            "dataset": "val",
            "image_id": f"val-{number:05d}",
            "complexity": 90.0 - 10 * number,
            "length": length,
            "bits": float(bits * length) if length else np.nan,
            "l1": 0.4 / length if length else 0.0,
            "picture": _png(number, length),
        }
        for number in range(images)
        for length in (0, *lengths)
    ]
    return pd.DataFrame(rows)


def _png(number: int, length: int) -> bytes:
    pixels = np.full((8, 8, 3), (40 * number, 255 if length == 0 else 3 * length, 100), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "png")
    return file.getvalue()
