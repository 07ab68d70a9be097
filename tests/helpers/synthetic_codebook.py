"""Tables of the codebook study with known answers: which codes images use, and how many tokens an iteration keeps."""

import io

import numpy as np
import pandas as pd
from PIL import Image

CODES = 32
LENGTHS = (2, 4, 6)


def synthetic_ids(images: int = 60, used: float = 1.0, kept: float = 0.7, seed: int = 0) -> np.ndarray:
    """Return ids (n, T, k), -1 where a token is still to come; iterations keep a share of the tokens before.

    Args:
        images: how many.
        used: share of the codes that are drawn, each as often as the others.
        kept: probability that a token is not drawn again.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    ids = np.full((images, len(LENGTHS), LENGTHS[-1]), -1)
    for step, length in enumerate(LENGTHS):
        drawn = generator.integers(max(1, round(used * CODES)), size=(images, length))
        if step:
            earlier = LENGTHS[step - 1]
            keep = generator.random((images, earlier)) < kept
            drawn[:, :earlier] = np.where(keep, ids[:, step - 1, :earlier], drawn[:, :earlier])
        ids[:, step, :length] = drawn
    return ids


def codebook_tables(sets: dict[str, np.ndarray], shown: tuple[str, ...] = ("val",)) -> dict[str, pd.DataFrame]:
    """Return the study's tables for the ids (n, T, k) of each set.

    The nearest of an image is the one after it in the last iteration, and before that the tenth after it, which has the
    same label in synthetic tables.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ("ids", "usage", "neighbors", "pairs")}
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(picture, format="PNG")
    for dataset, ids in sets.items():
        names = np.array([f"{dataset}-{row:05d}" for row in range(len(ids))])
        image, step, position = np.nonzero(ids >= 0)
        tokens = {"image_id": names[image], "iteration": step + 1, "position": position + 1}
        tables["ids"].append(pd.DataFrame({"dataset": dataset, **tokens, "id": ids[image, step, position]}))
        for number, used in enumerate(ids.swapaxes(0, 1), start=1):
            counts = np.bincount(used[used >= 0], minlength=CODES)
            usage = {"dataset": dataset, "iteration": number, "code": np.arange(CODES), "tokens": counts}
            tables["usage"].append(pd.DataFrame(usage))
        shared = (ids[:, -1] == np.roll(ids[:, -1], -1, axis=0)).mean(axis=1)
        nearest = {"dataset": dataset, "image_id": names, "neighbor_id": np.roll(names, -1), "shared": shared}
        for step, after in enumerate([10] * (ids.shape[1] - 1) + [1], start=1):
            others = {"iteration": step, "neighbor_id": np.roll(names, -after)}
            tables["neighbors"].append(pd.DataFrame(nearest | others))
        kept = picture.getvalue() if dataset in shown else None
        pairs = pd.DataFrame(nearest).iloc[:3].assign(pair=[1, 2, 3], image=[kept] * 3, neighbor=[kept] * 3)
        tables["pairs"].append(pairs)
    return {f"codebook_{name}": pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def continuous_tables() -> dict[str, pd.DataFrame]:
    """Return the tables of a tokenizer whose latents have no ids: the same columns and no rows."""
    return {name: table.iloc[:0] for name, table in codebook_tables({"val": synthetic_ids(3)}).items()}
