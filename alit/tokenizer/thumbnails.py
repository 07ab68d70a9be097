"""Small pictures of images at every length, and of where their latents look: what the explorer shows."""

import io
import math
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from alit.data.images import to_8_bit, to_png
from alit.errors import ConfigError
from alit.tokenizer.protocol import Tokenizer, attention_of, checked_reconstructions

LOSSLESS_SIDE = 64  # pixels per side of images that are kept exactly
LARGEST_SIDE = 128  # larger ones are shrunk to this, and kept at WEBP_QUALITY
WEBP_QUALITY = 90
MOST_MAPS = 32


class Thumbnails(NamedTuple):
    """One image at every length, as the file of one picture, and where its latents look, as another."""

    strip: bytes  # WebP, RGB: the original, then the reconstructions, cheapest first, side by side
    maps: bytes  # PNG, gray, a map per latent side by side: the root of the weight over its maximum; or empty
    latents: tuple[int, ...]  # the latents of the maps, from 1


@torch.no_grad()
def thumbnails_of(tokenizer: Tokenizer, images: Tensor, layer: int) -> list[Thumbnails]:
    """Return the thumbnails of images (b, 3, h, w) in [0, 1], on the tokenizer's device.

    Maps are those of the longest length: the weight with which each image token attends to a latent, in one layer
    (from 1) of the latent decoder, averaged over heads (paper, section 5). At most `MOST_MAPS` latents have one,
    evenly from the first to the last; of a tokenizer that does not say where it looks, none has.

    Raises:
        ConfigError: the tokenizer has no such layer.
    """
    frames = [to_8_bit(images), *(to_8_bit(step.images) for step in checked_reconstructions(tokenizer, images))]
    strips = [_strip(each) for each in rearrange(frames, "t b c h w -> b t h w c")]
    if (attention := _last_attention(tokenizer, images)) is None:
        return [Thumbnails(strip, b"", ()) for strip in strips]
    if layer > len(attention):
        raise ConfigError(f"attention.layer: expected one of {len(attention)}, found {layer}")
    latents = attention.shape[2]
    shown = np.unique(np.linspace(0, latents - 1, min(latents, MOST_MAPS)).round().astype(int))
    weights = attention[layer - 1][:, torch.from_numpy(shown).to(attention.device)]  # b k n
    tiles = to_8_bit((weights / weights.amax(dim=2, keepdim=True).clamp_min(1e-12)).sqrt())
    maps = rearrange(tiles, "b k (h w) -> b h (k w)", h=math.isqrt(attention.shape[3]))
    numbers = tuple(int(latent) + 1 for latent in shown)
    return [Thumbnails(strip, to_png(each, optimize=True), numbers) for strip, each in zip(strips, maps, strict=True)]


def _last_attention(tokenizer: Tokenizer, images: Tensor) -> Tensor | None:
    """Return where latents look at the longest length (l, b, k, n); None of a tokenizer that does not say."""
    if not hasattr(tokenizer, "attention_maps"):
        return None
    *_, last = attention_of(tokenizer, images)
    return last.layers


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
