"""Images as a caller hands them over: checked, and brought to the tokenizer in float32 batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from alit.errors import ConfigError, DataError


def checked_batches(
    images: Tensor | Iterable[Tensor], *, size: int, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield float32 batches on a device.

    Args:
        images: (b, 3, size, size) floats in [0, 1] in any precision on any device, cut into batches; or an iterable
            of such tensors, each a batch as it is.
        size: pixels per side.
        batch_size: images at once, where `images` is a tensor.
        device: where the batches go, one after another.

    Raises:
        ConfigError: the batch size is not at least one.
        DataError: see `check_images`.
    """
    if batch_size < 1:
        raise ConfigError(f"expected a batch_size of at least 1, found {batch_size}")
    if isinstance(images, Tensor):
        check_images(images, size)
        images = images.split(batch_size) if len(images) else ()
    for batch in images:
        check_images(batch, size)
        yield batch.to(device, torch.float32)


def check_images(images: Any, size: int) -> None:
    """Refuse images that are not (b, 3, size, size) floats in [0, 1]; b may be zero.

    Raises:
        DataError: what was expected, what was found, and what to do.
    """
    if not isinstance(images, Tensor):
        raise DataError(
            f"expected a float tensor (b, 3, {size}, {size}), found {type(images).__name__}; "
            "read picture files with alit.load_images"
        )
    if images.ndim != 4 or images.shape[1:] != (3, size, size) or not images.is_floating_point():
        raise DataError(
            f"expected float images (b, 3, {size}, {size}), found {images.dtype} {tuple(images.shape)}; "
            "resize and centre-crop them first (alit.load_images, alit.data.transforms.centre_view)"
        )
    if len(images) == 0:
        return
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise DataError(f"expected pixel values in [0, 1], found {low:g} to {high:g}; scale 8-bit images by 1 / 255")
