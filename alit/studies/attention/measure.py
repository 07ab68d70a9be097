"""Token attention: maps of the latents beside controls, their overlap with segments, and how sparse they are.

Paper, section 5, Tab. 2, Fig. 8, 9, 13 and 16; docs/studies/attention.md says what each table holds. First come the
maps and the controls, then how well maps cover segments, then the measurement of whole image sets.
"""

import io
import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from pydantic import Field, PositiveInt
from torch import Tensor
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.data.sources import UNKNOWN_SEGMENT
from alit.errors import DataError
from alit.settings import Settings
from alit.tokenizer.tokenizer import AdaptiveTokenizer


class LatentMaps(NamedTuple):
    """Where the latents of b images look at one iteration."""

    iteration: int  # 1-based
    maps: Tensor  # (b, k, n)
    features: Tensor  # (b, n, z), of the base encoder at the same places


def rollout_maps(tokenizer: AdaptiveTokenizer, images: Tensor, layer: int) -> Iterator[LatentMaps]:
    """Yield the maps of images (b, 3, h, w) in [0, 1] at each iteration; see `latent_maps` for the layer."""
    for step in tokenizer.rollout(images, reconstruct=False, attention=True):
        assert step.attention is not None
        yield LatentMaps(step.iteration, latent_maps(step.attention, layer), step.base.features)


def latent_maps(attention: Tensor, layer: int) -> Tensor:
    """Return one map (b, k, n) per latent: the weight with which each image token attends to it.

    Args:
        attention: (layers, b, n, k) weights of the latent decoder, averaged over heads, as `Rollout.attention` is.
            Rows are the queries of the n image tokens, columns the keys of the latents. Published code reads the
            column before, so that its latent 0 is the last mask token.
        layer: from 1; the paper shows the 7th of 8.
    """
    return rearrange(attention[layer - 1], "b n k -> b k n")


def to_pixels(maps: Tensor, size: int) -> Tensor:
    """Upsample maps (b, k, n) of a square grid to (b, k, p) with p = size * size pixels, bilinearly as published."""
    grid = math.isqrt(maps.shape[-1])
    square = rearrange(maps, "b k (h w) -> b k h w", h=grid)
    return rearrange(F.interpolate(square, (size, size), mode="bilinear", align_corners=False), "b k h w -> b k (h w)")


def entropy(maps: Tensor) -> Tensor:
    """Return the entropy (...) of maps (..., n) over their n places as a share of its maximum: 1 is spread evenly."""
    shares = maps / maps.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / math.log(maps.shape[-1])


def gini(maps: Tensor) -> Tensor:
    """Return the Gini index (...) of maps (..., n) without negatives: 0 is spread evenly, (n - 1) / n in one place."""
    places = maps.shape[-1]
    order = 2 * torch.arange(1, places + 1, device=maps.device) - places - 1
    return (maps.sort(-1).values * order).sum(-1) / (places * maps.sum(-1))


def shuffled(maps: Tensor) -> Tensor:
    """Give each image the maps (b, k, n) of another one of the batch: habits of the latents, nothing of the image."""
    return maps.roll(1, dims=0)


def random_maps(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return maps of independent uniform numbers in the shape (b, k, n)."""
    return torch.rand(maps.shape, generator=generator).to(maps)


def centered_blobs(maps: Tensor) -> Tensor:
    """Return a Gaussian in the center of the image for each map (b, k, n), with the map's own covariance."""
    places = grid_places(maps)
    return gaussians(places.mean(0).expand(*maps.shape[:2], 2), covariances(maps, places), places)


def placed_blobs(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return a Gaussian at a random place for each map (b, k, n), with the map's own covariance."""
    places = grid_places(maps)
    centers = torch.rand(*maps.shape[:2], 2, generator=generator).to(maps) * places.max()
    return gaussians(centers, covariances(maps, places), places)


def cluster_maps(features: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` maps (b, k, n) of k-means clusters in each image's own features (b, n, z).

    A map falls with the distance d of a place from the cluster's center in feature space, as exp(-d^2 / 2 s^2) with s
    the root mean square distance of places from their nearest center; its highest place is 1. There are no more
    clusters than places, and where an image has fewer different features than that, some maps are alike.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    clusters = min(count, features.shape[1])
    maps = []
    for places in features.cpu().numpy().astype(np.float64):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different features than clusters
            distances = KMeans(clusters, random_state=seed).fit_transform(places) ** 2
        spread = max(distances.min(axis=1).mean(), 1e-6 * distances.mean(), 1e-12)
        maps.append(np.exp(-(distances - distances.min(axis=0)) / (2 * spread)))
    return rearrange(torch.from_numpy(np.stack(maps)).to(features), "b n k -> b k n")


def grid_places(maps: Tensor) -> Tensor:
    """Return the row and column (n, 2) of each place of maps (b, k, n) over a square grid."""
    grid = math.isqrt(maps.shape[-1])
    steps = torch.arange(grid, device=maps.device, dtype=maps.dtype)
    return rearrange(torch.stack(torch.meshgrid(steps, steps, indexing="ij")), "two h w -> (h w) two")


def covariances(maps: Tensor, places: Tensor) -> Tensor:
    """Return the covariance (b, k, 2, 2) of each map (b, k, n) over places (n, 2), in grid steps.

    A place is a square with sides of one step, not a point: 1/12 is added to each variance.
    """
    shares = maps / maps.sum(-1, keepdim=True)
    centers = torch.einsum("bkn,nx->bkx", shares, places)
    offsets = places - centers[:, :, None]
    spread = torch.einsum("bkn,bknx,bkny->bkxy", shares, offsets, offsets)
    return spread + torch.eye(2, device=maps.device, dtype=maps.dtype) / 12


def gaussians(centers: Tensor, spread: Tensor, places: Tensor) -> Tensor:
    """Return Gaussians (b, k, n) over places (n, 2): 1 at their centers (b, k, 2), with covariances (b, k, 2, 2)."""
    offsets = places - centers[:, :, None]
    distances = torch.einsum("bknx,bkxy,bkny->bkn", offsets, torch.linalg.inv(spread), offsets)
    return torch.exp(-distances / 2)


class Segments(NamedTuple):
    """The masks of b images over p pixels; images with fewer than q masks have empty ones."""

    masks: Tensor  # (b, q, p) float, 1 inside
    counted: Tensor  # (b, q) bool, masks that are large enough
    known: Tensor  # (b, p) float, 0 where a pixel is unlabeled


def segment_masks(segments: Tensor, smallest: float) -> Segments:
    """Separate the segments of uint8 (b, h, w); masks below `smallest`, a share of the image, do not count.

    0 is background, which is no mask; unknown pixels belong to no mask and to no union.
    """
    pixels = rearrange(segments, "b h w -> b (h w)")
    known = pixels != UNKNOWN_SEGMENT
    most = int(torch.where(known, pixels, 0).max())
    numbers = torch.arange(1, max(most, 1) + 1, device=pixels.device, dtype=pixels.dtype)
    masks = (pixels[:, None] == numbers[:, None]).float()
    areas = masks.sum(-1)
    return Segments(masks, (areas > 0) & (areas >= smallest * pixels.shape[1]), known.float())


class Ranked(NamedTuple):
    """Pixels of maps in descending order; equal values stay in the order of the pixels."""

    ranks: Tensor  # (b, k, p) int64, 0 for the highest pixel of a map
    mass: Tensor  # (b, k, p), the sum of the highest 1, 2, ..., p pixels


def rank_pixels(maps: Tensor) -> Ranked:
    """Sort the pixels of maps (b, k, p)."""
    ordered, order = maps.sort(dim=-1, descending=True, stable=True)
    places = torch.arange(maps.shape[-1], device=maps.device).expand_as(order)
    return Ranked(torch.empty_like(order).scatter_(-1, order, places), ordered.cumsum(-1))


def keep_pixels(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return how many pixels (b, k, s) the highest `shares` (s,) of all p pixels of a map are, at least one."""
    counts = (shares * ranked.ranks.shape[-1]).round().long().clamp_min(1)
    return counts.expand(*ranked.ranks.shape[:2], -1)


def keep_mass(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return the fewest pixels (b, k, s) that hold `shares` (s,) of the sum of a map without negatives."""
    targets = (shares * ranked.mass[..., -1:]).to(ranked.mass)
    return torch.searchsorted(ranked.mass, targets).add(1).clamp_max(ranked.mass.shape[-1])


def jaccard(ranked: Ranked, segments: Segments, counts: Tensor) -> Tensor:
    """Return the Jaccard index (b, k, q, s) of the highest pixels of each of k maps with each of q masks.

    Args:
        ranked: the maps.
        segments: the masks.
        counts: (b, k, s) pixels kept of each map, s choices.
    """
    wanted = torch.cat([segments.masks, segments.known[:, None]], dim=1)
    areas = segments.masks.sum(-1)
    indices = []
    for count in counts.unbind(-1):
        kept = (ranked.ranks < count[..., None]).to(wanted.dtype)
        covered = torch.einsum("bkp,bqp->bkq", kept, wanted)
        both, size = covered[..., :-1], covered[..., -1:]
        indices.append(both / (size + areas[:, None] - both).clamp_min(1))
    return torch.stack(indices, dim=-1)


def mean_best(indices: Tensor, segments: Segments) -> Tensor:
    """Return (b, s): the mean over an image's counted masks of the best Jaccard index (b, k, q, s) of any map.

    An image without a counted mask gets nan.
    """
    counted = segments.counted[..., None].to(indices.dtype)
    return (indices.amax(dim=1) * counted).sum(1) / counted.sum(1)


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
