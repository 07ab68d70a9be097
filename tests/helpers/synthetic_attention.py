"""Tables of the attention study with effects of known size: no networks."""

import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

ITERATIONS = 3
SOURCES = ("latents", "first_latents", "shuffled", "clusters", "placed_blobs", "centered_blobs", "random", "masks")
LAYERS, SHOWN = 3, 2
SHARES = (0.4, 0.6, 0.8, 0.2)
RULES = (*(("pixels", share) for share in SHARES), ("best", None), *(("mass", share) for share in SHARES))


class Effects(NamedTuple):
    """Changes per iteration, and the latents' lead over every control; the defaults make all claims hold."""

    rise: float = 0.02  # of the latents' mIoU
    lead: float = 0.05
    fixed_rise: float = 0.02  # of the first iteration's latents
    control_rise: float = 0.0  # of every control
    sparser: float = 0.01  # fall of the entropy and rise of the Gini index in the layer that is shown
    sparser_elsewhere: float = 0.01  # the same in the other layers
    best: float = 0.3  # gain of the best share per image, whatever the maps
    bound: float = 0.9  # mIoU of the masks themselves


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
                level = {
                    "latents": 0.3 + effects.lead + effects.rise * step,
                    "first_latents": 0.3 + effects.fixed_rise * step,
                    "masks": effects.bound,
                }.get(source, 0.3 + effects.control_rise * step)
                for rule, share in RULES:
                    if source == "masks" and rule == "mass":
                        continue
                    kept = generator.uniform(0.05, 0.9, images) if share is None else share
                    gain = effects.best if rule == "best" and source != "masks" else 0.0
                    scores = {"miou": level + gain + 0.02 * generator.normal(size=images), "rule": rule, "share": kept}
                    overlap.append(pd.DataFrame({**place, "source": source, **scores}))
            for layer in range(1, LAYERS + 1):
                change = step * (effects.sparser if layer == SHOWN else effects.sparser_elsewhere)
                for source in ("first_latents", "latents"):
                    noise = 0.01 * generator.normal(size=images)
                    values = {"entropy": 0.8 - change + noise, "gini": 0.4 + change + noise}
                    where = {"source": source, "layer": layer, "shown": layer == SHOWN}
                    sparsity.append(pd.DataFrame({**place, **where, **values}))
    return {
        "attention_overlap": pd.concat(overlap, ignore_index=True),
        "attention_sparsity": pd.concat(sparsity, ignore_index=True),
        "attention_examples": _examples(datasets[0], generator),
        "attention_halting": pd.concat([_halting(name, names, generator) for name in datasets], ignore_index=True),
        "attention_halted": _halted(datasets[0], generator),
    }


def _halting(dataset: str, names: list[str], generator: np.random.Generator) -> pd.DataFrame:
    """Halting masks a fifth more of the image tokens each iteration, and raises L1 by 0.01 each."""
    rows = []
    for step in range(ITERATIONS):
        l1 = 0.1 - 0.02 * step + 0.002 * generator.normal(size=len(names))
        errors = {"open_error": 0.5, "open_error_halting": 0.5 - 0.05 * step}
        counts = {"masked": 0.2 * step, "saved": 0.1 * step, "decoding": 0.5 * (step > 0)}
        place = {"dataset": dataset, "image_id": names, "iteration": step + 1, "length": 8 * (step + 1)}
        rows.append(pd.DataFrame({**place, "l1": l1, "l1_halting": l1 + 0.01 * step, **errors, **counts}))
    return pd.concat(rows, ignore_index=True)


def _halted(dataset: str, generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for name in ("000", "001"):
        picture = _png(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        for iteration in range(2, ITERATIONS + 1):
            about = {"dataset": dataset, "image_id": name, "iteration": iteration, "publishable": True}
            rows.append({**about, "halted": np.arange(16) < 4 * (iteration - 1), "picture": picture})
    return pd.DataFrame(rows)


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
