"""Tables of the attention study with effects of known size: no networks."""

import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

ITERATIONS = 3
SOURCES = ("latents", "first_latents", "shuffled", "clusters", "placed_blobs", "centered_blobs", "random", "masks")
RULES = (("pixels", 0.4), ("pixels", 0.6), ("pixels", 0.8), ("best", None), ("mass", 0.4), ("mass", 0.6), ("mass", 0.8))


class Effects(NamedTuple):
    """Changes per iteration, and the latents' lead over every control; the defaults make both claims hold."""

    rise: float = 0.02  # of the latents' mIoU
    lead: float = 0.05
    sparser: float = 0.01  # fall of the entropy and rise of the Gini index


DEFAULT_EFFECTS = Effects()


def attention_tables(
    images: int = 60, datasets: tuple[str, ...] = ("val",), effects: Effects = DEFAULT_EFFECTS, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Return the three tables as the attention stage writes them."""
    generator = np.random.default_rng(seed)
    names = [f"{number:03d}" for number in range(images)]
    overlap, sparsity = [], []
    for dataset in datasets:
        for step in range(ITERATIONS):
            place = {"dataset": dataset, "image_id": names, "iteration": step + 1}
            for source in SOURCES:
                level = {"latents": 0.3 + effects.lead + effects.rise * step, "masks": 0.9}.get(source, 0.3)
                for rule, share in RULES:
                    kept = generator.uniform(0.05, 0.9, images) if share is None else share
                    scores = {"miou": level + 0.02 * generator.normal(size=images), "rule": rule, "share": kept}
                    overlap.append(pd.DataFrame({**place, "source": source, **scores}))
            for source in ("first_latents", "latents"):
                noise = 0.01 * generator.normal(size=images)
                values = {"entropy": 0.8 - effects.sparser * step + noise, "gini": 0.4 + effects.sparser * step + noise}
                sparsity.append(pd.DataFrame({**place, "source": source, **values}))
    return {
        "attention_overlap": pd.concat(overlap, ignore_index=True),
        "attention_sparsity": pd.concat(sparsity, ignore_index=True),
        "attention_examples": _examples(datasets[0], generator),
    }


def _examples(dataset: str, generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    outline = np.zeros((16, 16), np.uint8)
    outline[4:10, 5:12] = 255
    for name in ("000", "001"):
        picture = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for among, latent in (("first_latents", 1), ("latents", 4)):
            for iteration in range(1 if latent == 1 else 2, ITERATIONS + 1):
                about = {"dataset": dataset, "image_id": name, "among": among, "latent": latent, "iteration": iteration}
                found = {"jaccard": 0.1 * iteration, "map": generator.random(16).astype(np.float32)}
                files = {"picture": _png(picture), "outline": _png(outline), "publishable": True}
                rows.append({**about, **found, **files})
    return pd.DataFrame(rows)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
