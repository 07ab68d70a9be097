"""A few images with the maps of latents that end up on their largest masks, over the iterations (Fig. 8, 9, 16)."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from alit.config.s_attention import AttentionConfig
from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.probing.attention_maps import rollout_maps, to_pixels
from alit.probing.overlap import Segments, jaccard, keep_pixels, rank_pixels, segment_masks
from alit.tokenizer.tokenizer import AdaptiveTokenizer


def read_segments(
    images: ImageSet, rows: Sequence[int] | np.ndarray, smallest: float, device: torch.device
) -> Segments:
    """Read the masks of some images of a set.

    Raises:
        DataError: the set has none.
    """
    masks = images.masks(rows)
    if masks is None:
        raise DataError(
            f"expected masks in {images.name}, found none; attention.sets takes scenes, packed arrays with masks, "
            "and sets of source imagenet_s, panoptic or masks"
        )
    return segment_masks(masks.to(device), smallest)


def trace_examples(
    tokenizer: AdaptiveTokenizer, images: ImageSet, rows: Sequence[int], config: AttentionConfig
) -> pd.DataFrame:
    """Follow two latents for the largest mask of each image: the best of the first iteration's, and the best of all.

    They are picked, as the paper's are: at the last iteration, by their Jaccard index with the mask, with the first of
    `config.shares` of the pixels kept.

    Returns:
        One row per image, latent and iteration that has it: image_id, among ("first_latents" or "latents"), latent
        (from 1), iteration, jaccard, map (n numbers), picture and outline (PNG files of the image and of the mask).
    """
    device = next(tokenizer.parameters()).device
    shown = images.images(rows).to(device)
    segments = read_segments(images, rows, config.smallest_mask, device)
    largest = (segments.masks.sum(-1) * segments.counted).argmax(dim=1)
    segments = segments._replace(masks=segments.masks[torch.arange(len(rows)), largest][:, None])
    kept = torch.tensor(config.shares[:1], device=device)
    steps = list(rollout_maps(tokenizer, shown, config.layer))
    ranked = [rank_pixels(to_pixels(step.maps, images.image_size)) for step in steps]
    fits = [jaccard(step, segments, keep_pixels(step, kept))[..., 0, 0] for step in ranked]  # of (b, k) each
    names = images.manifest["image_id"].astype(str).to_numpy()
    found = []
    for number, row in enumerate(rows):
        picture = _png(rearrange(shown[number], "c h w -> h w c"))
        outline = _png(rearrange(segments.masks[number, 0], "(h w) -> h w", h=images.image_size))
        for among, count in (("first_latents", tokenizer.config.tokens_per_iteration), ("latents", None)):
            latent = int(fits[-1][number, :count].argmax())
            there = [place for place, step in enumerate(steps) if step.maps.shape[1] > latent]
            trace = {
                "iteration": [steps[place].iteration for place in there],
                "jaccard": [float(fits[place][number, latent]) for place in there],
                "map": [steps[place].maps[number, latent].cpu().numpy() for place in there],
            }
            about = {"image_id": names[row], "among": among, "latent": latent + 1}
            found.append(pd.DataFrame({**about, **trace, "picture": picture, "outline": outline}))
    return pd.concat(found, ignore_index=True)


def _png(values: Tensor) -> bytes:
    """Write values in [0, 1], (h, w, 3) or (h, w), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(values.mul(255).round().byte().cpu().numpy()).save(file, format="PNG")
    return file.getvalue()
