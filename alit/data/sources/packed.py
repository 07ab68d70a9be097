"""Images in arrays: one `.npy` of pixels, or an `.npz` with labels and more beside them."""

import hashlib
from pathlib import Path

import numpy as np

from alit.data.sources import Record
from alit.data.tables import read_arrays


class PackedSource:
    """Images from arrays; `.npz` members beside `images` are optional.

    images: uint8 (n, h, w, 3) or grayscale (n, h, w); labels: integers (n,), negative for unknown;
    class_names: strings; complexity: floats (n,); captions: strings (n,); depth: meters (n, h, w);
    masks: uint8 (n, h, w), segments numbered from 1, 0 for background, 255 where unknown.

    Raises:
        DataError: the file is damaged, or an array has another type, shape or range; see `alit.data.tables.MEMBERS`.
    """

    skipped = ""

    def __init__(self, name: str, path: Path, split: str) -> None:
        self.name = name
        self._split = split
        self._arrays = read_arrays(path)
        self.class_names = tuple(str(class_name) for class_name in self._arrays.get("class_names", ()))

    def __len__(self) -> int:
        return len(self._arrays["images"])

    def record(self, index: int) -> Record:
        """Describe one row."""
        number = self._value("labels", index)
        label = None if number is None or number < 0 else int(number)
        complexity, caption = self._value("complexity", index), self._value("captions", index)
        return Record(
            image_id=f"{index:07d}",
            origin=f"row:{index}",
            label=label,
            class_name=self.class_names[label] if label is not None and self.class_names else None,
            split=self._split,
            complexity=None if complexity is None or np.isnan(complexity) else float(complexity),
            caption=None if caption is None else str(caption),
            objects=None,
        )

    def read(self, index: int) -> np.ndarray:
        """Return one image, uint8 (h, w, 3)."""
        image = np.array(self._arrays["images"][index])
        return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image

    def depth(self, index: int) -> np.ndarray | None:
        """Return one depth map, float32 (h, w), if there are any."""
        depth = self._value("depth", index)
        return None if depth is None else np.asarray(depth, np.float32)

    def inverse_depth(self, index: int) -> np.ndarray | None:
        """Return None: arrays hold meters or no depth."""
        return None

    def masks(self, index: int) -> np.ndarray | None:
        """Return the segment of each pixel, uint8 (h, w), if there are masks."""
        masks = self._value("masks", index)
        return None if masks is None else np.asarray(masks, np.uint8)

    def digest(self, index: int) -> str:
        """Return the sha256 of one image's pixels."""
        return hashlib.sha256(self.read(index).tobytes()).hexdigest()

    def _value(self, key: str, index: int):
        return self._arrays[key][index] if key in self._arrays else None
