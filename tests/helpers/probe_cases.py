"""Settings of the probe study in little, and images whose classes can be told."""

import numpy as np
import pandas as pd
import torch
from tiny import images

from alit.data.imageset import ImageSet
from alit.studies.probe.measure import MaeProbeConfig, ProbeConfig

CONFIG = ProbeConfig(
    method="ridge",
    train_images=None,
    batch_size=4,
    seeds=2,
    draw_share=0.5,
    iterations=None,
    tokens=("image", "latents", "both"),
    stages=("encoder", "quantizer"),
    pooling=("mean", "concatenated"),
    penalties=(1.0, 10.0),
    folds=2,
    mae=MaeProbeConfig(epochs=2, warmup_epochs=1, batch_size=8, base_learning_rate=0.1),
)


class ColoredSet(ImageSet):
    """Images whose label is their brightest channel; every fifth has none."""

    class_names = ("red", "green", "blue")

    def __init__(self, name: str, count: int = 45, seed: int = 0) -> None:
        self.name = name
        self.classes = np.arange(count) % 3
        colors = torch.eye(3)[torch.from_numpy(self.classes)]
        self.pixels = 0.5 * images(count, seed=seed) + 0.5 * colors[:, :, None, None]
        self.manifest = pd.DataFrame({"image_id": [f"{name}-{row}" for row in range(count)]})

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows):
        return self.pixels[rows]

    def labels(self, rows):
        return torch.from_numpy(np.where(np.arange(len(self)) % 5 == 4, -1, self.classes)[rows])
