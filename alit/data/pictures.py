"""A reader's own pictures as the images that a tokenizer takes."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alit.data.decode import read_image
from alit.data.transforms import centre_view, to_images
from alit.errors import DataError


def load_images(paths: Iterable[str | Path], *, size: int) -> Tensor:
    """Read picture files into float32 images (b, 3, size, size) in [0, 1]; b may be zero.

    Each is cut to its centre square and resized with antialiased bicubic interpolation; `alit.data.decode` says what
    happens to transparency, 16 bits, orientation and the like.

    Raises:
        DataError: a file is missing or cannot be decoded whole; the message names it.
    """
    return batch_of([read_view(Path(path), size) for path in paths], size)


def read_view(path: Path, size: int) -> np.ndarray:
    """Read the centre view of one picture file, uint8 (size, size, 3).

    Raises:
        DataError: the file is missing or cannot be decoded whole; the message names it.
    """
    try:
        return centre_view(read_image(path), size)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def batch_of(views: list[np.ndarray], size: int) -> Tensor:
    """Stack views of uint8 (size, size, 3) into images (b, 3, size, size) in [0, 1]; b may be zero."""
    return to_images(np.stack(views)) if views else torch.empty(0, 3, size, size)
