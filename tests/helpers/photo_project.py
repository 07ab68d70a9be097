"""A checkout with photographs, for the tests of image sets on disk."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from alit.data.prepare import DataConfig, ImageSetConfig, materialize_sets


def one_set(name="photos", **changes) -> ImageSetConfig:
    fields = {"name": name, "role": "evaluate", "source": "folder", "path": "photos", "variant": "base"}
    return ImageSetConfig.model_validate(fields | {"split": "val", "images": None, "pack": True} | changes)


def scenes(name="scenes", **changes) -> ImageSetConfig:
    return one_set(name, **({"source": "scenes", "path": None, "split": "train", "images": 6} | changes))


class Project:
    """A checkout with real photographs in `data/photos` and a run folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "runs/tiny/data"
        self.rejected = root / "runs/tiny/rejected.csv"
        generator = np.random.default_rng(0)
        for label in ("cat", "dog"):
            folder = root / "data/photos" / label
            folder.mkdir(parents=True)
            for number in range(5):
                pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")

    def break_image(self, name: str) -> None:
        path = self.root / "data/photos" / name
        path.write_bytes(path.read_bytes()[:-200])

    def materialize(self, *sets: ImageSetConfig, share: float = 0.0, size: int = 16) -> None:
        config = DataConfig(image_size=size, rejected_share=share, flip=False, crop_scale=1.0, sets=sets)
        materialize_sets(config, self.data, self.rejected, (self.root / "data",))

    def refused(self) -> list[dict[str, str]]:
        with self.rejected.open(newline="") as file:
            return list(csv.DictReader(file))
