"""Token attention: overlap with segments and sparsity per image and iteration (docs/studies/attention.md)."""

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from PIL import Image
from pydantic import Field, PositiveInt
from torch import Tensor
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.settings import Settings
from alit.studies.attention.maps import (
    LatentMaps,
    Segments,
    centered_blobs,
    cluster_maps,
    entropy,
    gini,
    jaccard,
    keep_mass,
    keep_pixels,
    mean_best,
    placed_blobs,
    random_maps,
    rank_pixels,
    rollout_maps,
    segment_masks,
    shuffled,
    to_pixels,
)
from alit.tokenizer.tokenizer import AdaptiveTokenizer


class AttentionConfig(Settings):
    """Where latents look, compared with segmentation masks (paper, section 5, Tab. 2, Fig. 8, 9, 13, 16)."""

    sets: tuple[str, ...]  # image sets with masks, of any role
    images: PositiveInt | None  # of each set, drawn at random; null takes all
    layer: PositiveInt  # of the latent decoder, from 1
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...]  # of a map that is kept as its segment
    smallest_mask: float = Field(ge=0, lt=1)  # share of the image; smaller masks are left out
    examples: PositiveInt  # images of each set whose maps are shown
    batch_size: int = Field(ge=2)  # a control gives an image the maps of another one of its batch


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


# Shares of the pixels that are tried for the best threshold of an image; masks are small more often than large.
BEST_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class AttentionTables(NamedTuple):
    """The tables of the attention study; docs/studies/attention.md describes their columns."""

    overlap: pd.DataFrame
    sparsity: pd.DataFrame
    examples: pd.DataFrame


@torch.no_grad()
def measure_attention(
    tokenizer: AdaptiveTokenizer,
    sets: Iterable[ImageSet],
    shown: Collection[str],
    config: AttentionConfig,
    seed: int,
) -> AttentionTables:
    """Compare latents' maps, and those of every control, with the masks of each image at each iteration.

    The masks themselves are scored like maps: no map can fit them better, since a rule fixes how much is kept.

    Args:
        tokenizer: in eval mode; sets are read at its image size.
        sets: image sets with masks, of different names.
        shown: names of the sets whose pictures anyone may be shown.
        config: images of each set, layer, shares of a map that are kept, smallest mask, examples.
        seed: of the sample of images and of the controls.

    Raises:
        DataError: a set has no masks, none that is large enough, or fewer than two images.
    """
    parts = [_measure_set(tokenizer, images, config, seed) for images in sets]
    tables = AttentionTables(*(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)))
    return tables._replace(examples=tables.examples.assign(publishable=tables.examples["dataset"].isin(list(shown))))


def _measure_set(tokenizer: AdaptiveTokenizer, images: ImageSet, config: AttentionConfig, seed: int) -> AttentionTables:
    generator = torch.Generator().manual_seed(seed)
    # A set may be sorted by class; in random order the maps of another image are those of any image.
    rows = torch.randperm(len(images), generator=generator).numpy()[: config.images]
    if len(rows) < 2:
        raise DataError(f"expected at least two images in {images.name} to shuffle maps between, found {len(rows)}")
    device, size = next(tokenizer.parameters()).device, images.image_size
    overlap, sparsity, usable = [], [], []
    with tqdm(total=len(rows), desc=f"attention on {images.name}", unit="image") as bar:
        for batch in np.array_split(rows, max(1, len(rows) // config.batch_size)):
            segments = read_segments(images, batch, config.smallest_mask, device)
            large = segments.counted.any(dim=1).cpu().numpy()
            usable += batch[large].tolist()
            most = _overlap(segments.masks, segments, config.shares)
            names = images.manifest["image_id"].astype(str).to_numpy()[batch]
            for step in rollout_maps(tokenizer, images.images(batch).to(device), config.layer):
                own = candidates(step, tokenizer.config.tokens_per_iteration, generator, seed)
                scored = ((source, _overlap(to_pixels(maps, size), segments, config.shares)) for source, maps in own)
                for source, scores in chain(scored, [("masks", most)]):
                    place = {"iteration": step.iteration, "source": source}
                    overlap.append(_tidy(names, scores).assign(**place)[np.repeat(large, len(scores))])
                sparsity += [part.assign(iteration=step.iteration) for part in _sparsity(step, names, tokenizer)]
            bar.update(len(batch))
    if not usable:
        raise DataError(f"expected masks of {config.smallest_mask:.1%} of an image in {images.name}, found none")
    examples = trace_examples(tokenizer, images, usable[: config.examples], config)
    tables = AttentionTables(pd.concat(overlap), pd.concat(sparsity), examples)
    for table in tables:
        table.insert(0, "dataset", images.name)
    return tables


def candidates(step: LatentMaps, first: int, generator: torch.Generator, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield (source, maps (b, k, n)): the latents' own, those of the first iteration's, and the controls.

    Every control has as many maps as there are latents: the more maps, the better the best of them fits by chance.
    """
    yield "latents", step.maps
    yield "first_latents", step.maps[:, :first]
    yield "shuffled", shuffled(step.maps)
    yield "clusters", cluster_maps(step.features, step.maps.shape[1], seed)
    yield "placed_blobs", placed_blobs(step.maps, generator)
    yield "centered_blobs", centered_blobs(step.maps)
    yield "random", random_maps(step.maps, generator)


class Score(NamedTuple):
    """The mean overlap of b images with one way to cut a segment out of a map."""

    rule: str  # "pixels", "mass", or "best": as many pixels as fit the image's masks best
    share: Tensor  # (b,) of the pixels or of the mass
    miou: Tensor  # (b,)


def _overlap(pixels: Tensor, segments: Segments, shares: tuple[float, ...]) -> list[Score]:
    """Score maps (b, k, p) against the masks of their images under every rule."""
    kept = torch.tensor([*shares, *BEST_SHARES], device=pixels.device, dtype=torch.float64)
    own, tried = kept.split([len(shares), len(BEST_SHARES)])
    ranked = rank_pixels(pixels)
    counts = torch.cat([keep_pixels(ranked, kept), keep_mass(ranked, own)], dim=-1)
    scores = mean_best(jaccard(ranked, segments, counts), segments)
    by_pixels, by_tried, by_mass = scores.split([len(own), len(tried), len(own)], dim=-1)
    best = by_tried.max(dim=-1)
    return [
        *(Score("pixels", share.expand(len(scores)), by_pixels[:, i]) for i, share in enumerate(own)),
        Score("best", tried[best.indices], best.values),
        *(Score("mass", share.expand(len(scores)), by_mass[:, i]) for i, share in enumerate(own)),
    ]


def _tidy(names: np.ndarray, scores: list[Score]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": np.repeat(names, len(scores)),
            "rule": np.tile([score.rule for score in scores], len(names)),
            "share": torch.stack([score.share for score in scores], dim=1).flatten().cpu().numpy(),
            "miou": torch.stack([score.miou for score in scores], dim=1).flatten().cpu().numpy(),
        }
    )


def _sparsity(step: LatentMaps, names: np.ndarray, tokenizer: AdaptiveTokenizer) -> list[pd.DataFrame]:
    """Average entropy and Gini index over the first iteration's latents, and over all."""
    first = step.maps[:, : tokenizer.config.tokens_per_iteration]
    return [
        pd.DataFrame(
            {
                "image_id": names,
                "source": source,
                "entropy": entropy(maps).mean(dim=1).cpu().numpy(),
                "gini": gini(maps).mean(dim=1).cpu().numpy(),
            }
        )
        for source, maps in (("first_latents", first), ("latents", step.maps))
    ]
