"""Small pictures of images at every length, and of where their latents look: what the explorer shows."""

import io
import math
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from alit.tokenizer.tokenizer import AdaptiveTokenizer

LOSSLESS_SIDE = 64  # pixels per side of images that are kept exactly
LARGEST_SIDE = 128  # larger ones are shrunk to this, and kept at WEBP_QUALITY
WEBP_QUALITY = 90
MOST_MAPS = 32


class Thumbnails(NamedTuple):
    """One image at every length, as the file of one picture, and where its latents look, as another."""

    strip: bytes  # WebP, RGB: the original, then the reconstructions, cheapest first, side by side
    maps: (
        bytes  # PNG, gray: a square map per latent, side by side; brightness is the root of the weight over its maximum
    )
    latents: tuple[int, ...]  # the latents of the maps, from 1


@torch.no_grad()
def thumbnails_of(tokenizer: AdaptiveTokenizer, images: Tensor, layer: int) -> list[Thumbnails]:
    """Return the thumbnails of images (b, 3, h, w) in [0, 1].

    Maps are those of the longest length: the weight with which each image token attends to a latent, in one layer of
    the latent decoder, averaged over heads (paper, section 5). At most `MOST_MAPS` latents have one, evenly from the
    first to the last.

    Args:
        tokenizer: in evaluation mode.
        images: on the tokenizer's device.
        layer: of the latent decoder, from 1.
    """
    frames, attention = [to_8_bit(images)], None
    for step in tokenizer.rollout(images, attention=True):
        assert step.reconstruction is not None
        assert step.attention is not None
        frames.append(to_8_bit(step.reconstruction))
        attention = step.attention[layer - 1]  # b n k
    assert attention is not None
    latents = attention.shape[-1]
    shown = np.unique(np.linspace(0, latents - 1, min(latents, MOST_MAPS)).round().astype(int))
    weights = attention[..., torch.from_numpy(shown).to(attention.device)]
    tiles = to_8_bit((weights / weights.amax(dim=1, keepdim=True).clamp_min(1e-12)).sqrt())
    grid = math.isqrt(attention.shape[1])
    maps = rearrange(tiles, "b (h w) k -> b h (k w)", h=grid)
    numbers = tuple(int(latent) + 1 for latent in shown)
    pictures = rearrange(frames, "t b c h w -> b t h w c")
    return [Thumbnails(_strip(pictures[i]), _png(maps[i]), numbers) for i in range(len(images))]


def to_8_bit(values: Tensor) -> np.ndarray:
    """Return values in [0, 1], clipped and rounded to 8 bit, halves to even."""
    return values.clamp(0, 1).mul(255).round().byte().cpu().numpy()


def _strip(frames: np.ndarray) -> bytes:
    """Write frames (t, h, w, 3) side by side."""
    side = frames.shape[1]
    lossless = side <= LOSSLESS_SIDE
    if side > LARGEST_SIDE:
        shrunk = [Image.fromarray(each).resize((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX) for each in frames]
        frames = np.stack([np.asarray(each) for each in shrunk])
    whole = Image.fromarray(np.ascontiguousarray(rearrange(frames, "t h w c -> h (t w) c")))
    whole.save(file := io.BytesIO(), "WEBP", lossless=lossless, quality=WEBP_QUALITY, method=6)
    return file.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    Image.fromarray(np.ascontiguousarray(pixels)).save(file := io.BytesIO(), "PNG", optimize=True)
    return file.getvalue()
