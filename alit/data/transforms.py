"""From decoded images to the square views that networks see, and random views for training."""

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn import functional


def centre_view(array: np.ndarray, size: int) -> np.ndarray:
    """Return the centre square of uint8 (h, w, 3), resized to (size, size, 3).

    Equal to resizing the short side with antialiased bicubic interpolation and cropping the centre, the
    evaluation view of ImageNet models, but cropped first, so that a picture one pixel wide costs no memory.
    """
    return np.array(_resize(Image.fromarray(array), size, Image.Resampling.BICUBIC))


def centre_map(array: np.ndarray, size: int) -> np.ndarray:
    """Return the same view of a map (h, w), float32 or uint8, by nearest neighbour: no value is invented."""
    return np.array(_resize(Image.fromarray(array), size, Image.Resampling.NEAREST))


def _resize(image: Image.Image, size: int, method: Image.Resampling) -> Image.Image:
    """Resize the centre square; a square image of the right size passes unchanged."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), method, box=(left, top, left + side, top + side))


def to_images(array: np.ndarray) -> Tensor:
    """Turn uint8 (b, h, w, 3) into float32 (b, 3, h, w) in [0, 1]."""
    return rearrange(torch.from_numpy(array), "b h w c -> b c h w").contiguous().float() / 255


def augment(images: Tensor, generator: torch.Generator, *, flip: bool, crop_scale: float) -> Tensor:
    """Return random views of images (b, 3, h, w) in [0, 1], in the same shape and range.

    Each view is a square crop of `crop_scale` to 1 of the image's area, resized back, and mirrored half of
    the time when `flip`. The result depends on `images` and on the state of `generator` (a CPU one) alone.
    Deviation: the published training also varies the crop's aspect ratio between 3/4 and 4/3.
    """
    batch = images.shape[0]
    draws = torch.rand(4, batch, generator=generator)
    mirrored = (draws[3] < 0.5) & flip
    if crop_scale == 1:
        return torch.where(rearrange(mirrored.to(images.device), "b -> b 1 1 1"), images.flip(-1), images)
    side = (crop_scale + (1 - crop_scale) * draws[0]).sqrt()
    shift = (1 - side) * (2 * draws[1:3] - 1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = torch.where(mirrored, -side, side)
    theta[:, 1, 1] = side
    theta[:, :, 2] = shift.T
    grid = functional.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    views = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return views.clamp(0, 1)
