"""Image sets, tokenizers and tasks small enough to check a sweep by hand."""

import numpy as np
import pandas as pd
import torch

from alit.data.imageset import ImageSet
from alit.sweep.engine import SweepConfig
from alit.tokenizer.protocol import Reconstruction

SIZE = 8


class ToySet(ImageSet):
    """Random images in memory."""

    image_size = SIZE
    class_names = ("dark", "bright")
    role = "evaluate"

    def __init__(self, name: str, count: int, seed: int = 0) -> None:
        self.name = name
        generator = np.random.default_rng(seed)
        self.pixels = generator.integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)
        self.manifest = pd.DataFrame(
            {
                "image_id": [f"{name}-{row}" for row in range(count)],
                "label": pd.array([None if row % 3 == 2 else row % 2 for row in range(count)], dtype="Int64"),
                "split": "val",
                "complexity": [None if row % 2 else float(row) for row in range(count)],
                "caption": "a square",
                "sha256": [f"{seed}-{row}" for row in range(count)],
            }
        )

    def images(self, indices):
        return torch.from_numpy(self.pixels[indices]).float() / 255

    def depth(self, indices):
        return None

    def inverse_depth(self, indices):
        return None


class FadingTokenizer:
    """Adds gray to every image, less of it at longer lengths; `fail_at` batches it breaks down."""

    name = "fading"
    image_size = SIZE
    lengths = (2, 4)
    base_tokens = 16

    def __init__(self, fail_at: int | None = None) -> None:
        self.batches = -3  # what the sweep looks at before it measures
        self.images = -5
        self.fail_at = fail_at

    def reconstructions(self, images):
        if self.batches == self.fail_at:
            raise RuntimeError("killed")
        self.batches += 1
        self.images += len(images)
        for length in self.lengths:
            faded = images + (0.5 - images) / length
            yield Reconstruction(length, torch.full((len(images),), 10.0 * length), faded)


class MeanColor:
    """Features: the mean of each channel."""

    name = "color"
    size = 3
    record: dict = {"name": "color"}  # noqa: RUF012

    def features(self, images):
        return images.mean(dim=(2, 3))


CONFIG = SweepConfig(chunk_size=4, tokenizer_batch=3)
