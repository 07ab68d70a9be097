"""Token attention: maps of the latents beside controls, their overlap with segments, and how sparse they are.

Paper, section 5, Tab. 2, Fig. 8, 9, 13 and 16; docs/studies/attention.md says what each table holds. First come the
maps and the controls, then how well maps cover segments, then the measurement of whole image sets.
"""

import io
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from alit.data.imageset import ImageSet
from alit.data.sources import UNKNOWN_SEGMENT
from alit.errors import DataError, NotMeasurable
from alit.models.distillation import Halting
from alit.settings import Settings
from alit.tokenizer.halting import HaltingStep, compare_halting
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric, derive_generator
from alit.training.engine.processes import PieceStore

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


class LatentMaps(NamedTuple):
    """Where the latents of b images look at one iteration, in each of l layers of the latent decoder."""

    iteration: int  # 1-based
    layers: Tensor  # (l, b, k, n), see `latent_maps`
    layer: int  # the one whose maps are compared with masks, from 1; the paper shows the 7th of 8
    features: Tensor  # (b, n, z), of the base encoder at the same places

    @property
    def maps(self) -> Tensor:
        """Return the maps (b, k, n) that are compared with masks."""
        return self.layers[self.layer - 1]


def rollout_maps(tokenizer: AdaptiveTokenizer, images: Tensor, layer: int) -> Iterator[LatentMaps]:
    """Yield the maps of images (b, 3, h, w) in [0, 1] at each iteration; `layer` as in `LatentMaps`."""
    for step in tokenizer.rollout(images, reconstruct=False, attention=True):
        assert step.attention is not None
        yield LatentMaps(step.iteration, latent_maps(step.attention), layer, step.base.features)


def latent_maps(attention: Tensor) -> Tensor:
    """Return one map (l, b, k, n) per layer and latent: the weight with which each image token attends to it.

    Args:
        attention: (l, b, n, k) weights of the latent decoder, averaged over heads, as `Rollout.attention` is.
            Rows are the queries of the n image tokens, columns the keys of the latents. Published code reads the
            column before, so that its latent 0 is the last mask token.
    """
    return rearrange(attention, "l b n k -> l b k n")


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
    """Return `count` maps (b, k, n) of regions in each image's own features (b, n, z), by k-means.

    The regions are those of k-means with 2, 3, 4, ... clusters, from coarse to fine, as many as it takes: one k-means
    with `count` clusters would leave a single place to each where there are as many places. A cluster has at least
    `PLACES_A_CLUSTER` places in the mean; where more maps are wanted than that gives, the numbers begin again with
    another seed. Fewer maps are the first of more.

    A map falls with the distance d of a place from the cluster's center in feature space, as exp(-d^2 / 2 s^2) with s
    the root mean square distance of places from their nearest center; its highest place is 1. Where an image has fewer
    different features than clusters, some maps are alike.
    """
    fits = cluster_numbers(count, most=max(2, features.shape[1] // PLACES_A_CLUSTER))
    images = []
    for places in features.cpu().numpy().astype(np.float64):
        maps = [_regions(places, clusters, seed + turn) for turn, clusters in fits]
        images.append(np.concatenate(maps, axis=1)[:, :count])
    return rearrange(torch.from_numpy(np.stack(images)).to(features), "b n k -> b k n")


PLACES_A_CLUSTER = 4


def cluster_numbers(count: int, most: int) -> list[tuple[int, int]]:
    """Return (turn, number of clusters) of the fits that give `count` maps: 2, 3, ..., `most` clusters, then again."""
    fits: list[tuple[int, int]] = []
    while sum(clusters for _, clusters in fits) < count:
        turn, above = divmod(len(fits), most - 1)
        fits.append((turn, 2 + above))
    return fits


def _regions(places: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the maps (n, k) of one k-means over the features (n, z) of one image."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different features than clusters
        distances = KMeans(clusters, random_state=seed).fit_transform(places) ** 2
    spread = max(distances.min(axis=1).mean(), 1e-6 * distances.mean(), 1e-12)
    return np.exp(-(distances - distances.min(axis=0)) / (2 * spread))


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

    labels: Tensor  # (b, p) int32: the number of a pixel's mask, 0 in none, q + 1 where it is unlabeled
    counted: Tensor  # (b, q) bool, masks that are large enough

    @property
    def masks(self) -> Tensor:
        """Return the masks (b, q, p) float, 1 inside."""
        numbers = torch.arange(1, self.counted.shape[1] + 1, device=self.labels.device)
        return (self.labels[:, None] == numbers[:, None]).float()

    @property
    def known(self) -> Tensor:
        """Return (b, p) bool, false where a pixel is unlabeled."""
        return self.labels <= self.counted.shape[1]

    def of(self, image: int) -> "Segments":
        """Return the masks of one image."""
        return Segments(self.labels[image : image + 1], self.counted[image : image + 1])

    def only(self, chosen: Tensor) -> "Segments":
        """Return one mask of each image, its number in `chosen` (b,), from 0."""
        inside = (self.labels == chosen[:, None] + 1).int()
        return Segments(torch.where(self.known, inside, 2).int(), self.counted.gather(1, chosen[:, None]))

    def of_next(self) -> "Segments":
        """Give each image the masks of the one after it in the batch."""
        return Segments(self.labels.roll(-1, dims=0), self.counted.roll(-1, dims=0))


def segment_masks(segments: Tensor, smallest: float) -> Segments:
    """Separate the segments of uint8 (b, h, w); masks below `smallest`, a share of the image, do not count.

    0 is background, which is no mask; pixels of unknown content are in no mask, and no map is judged by them.
    """
    pixels = rearrange(segments, "b h w -> b (h w)").int()
    known = pixels != UNKNOWN_SEGMENT
    most = max(int(torch.where(known, pixels, 0).max()), 1)
    found = Segments(torch.where(known, pixels, most + 1), torch.ones(len(pixels), most, dtype=torch.bool))
    areas = found.masks.sum(-1)
    return found._replace(counted=(areas > 0) & (areas >= smallest * pixels.shape[1]))


class Ranked(NamedTuple):
    """The m known pixels of one image in the descending order of k maps; equal values stay in the order of the pixels.

    Pixels of unknown content are taken out before anything is kept of a map, as is usual where labels are to be
    ignored. A rule then keeps as many known pixels of each map; were unknown ones kept and not counted, a map would
    fit the better the more of it lies on them.
    """

    order: Tensor  # (k, m) int64, the number of the highest pixel of a map first
    mass: Tensor  # (k, m), the sum of the highest 1, 2, ..., m known pixels


def rank_pixels(maps: Tensor, known: Tensor, order: Tensor | None = None) -> Ranked:
    """Sort the known pixels of maps (k, p) without negatives.

    Args:
        maps: of one image.
        known: (p,) bool. Where no pixel is known there is no mask either, and all are sorted.
        order: of all pixels, where it is known already.
    """
    order = descending_order(maps) if order is None else order
    if known.any() and not known.all():
        order = rearrange(order[known[order]], "(k m) -> k m", k=len(maps))
    return Ranked(order, maps.gather(-1, order).cumsum(-1))


def descending_order(values: Tensor) -> Tensor:
    """Return the order (..., p) of values (..., p) of 0 or more from the highest, equal ones as they come."""
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return torch.sort(values, dim=-1, descending=True, stable=True).indices
    # The bits of such floats are in their order, and numpy sorts 16 of them by counting: a fifth of the time.
    bits = ~np.ascontiguousarray(values.flatten(0, -2).numpy()).view(np.uint32)
    orders = np.empty(bits.shape, np.int64)
    for row, order in zip(bits, orders, strict=True):
        by_low = np.argsort((row & 0xFFFF).astype(np.uint16), kind="stable")
        order[:] = by_low[np.argsort((row >> 16).astype(np.uint16)[by_low], kind="stable")]
    return torch.from_numpy(orders).view(values.shape)


def keep_pixels(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return how many pixels (k, s) the highest `shares` (s,) of the m known pixels of a map are, at least one."""
    counts = (shares * ranked.order.shape[-1]).round().long().clamp_min(1)
    return counts.expand(len(ranked.order), -1)


def keep_mass(ranked: Ranked, shares: Tensor) -> Tensor:
    """Return the fewest known pixels (k, s) that hold `shares` (s,) of the sum of a map without negatives."""
    targets = (shares * ranked.mass[..., -1:]).to(ranked.mass)
    return torch.searchsorted(ranked.mass, targets).add(1).clamp_max(ranked.mass.shape[-1])


def jaccard(ranked: Ranked, segments: Segments, counts: Tensor) -> Tensor:
    """Return the Jaccard index (k, q, s) of the highest pixels of each of k maps with each of q masks of one image.

    All choices of a map cut its order at some ranks: how many pixels of each mask lie between two cuts is counted
    once, and summed up.

    Args:
        ranked: the maps.
        segments: the masks of the image.
        counts: (k, s) known pixels kept of each map, s choices.
    """
    (maps, pixels), masks, choices = ranked.order.shape, segments.counted.shape[1], counts.shape[-1]
    labels = segments.labels[0][ranked.order]
    ascending, places = counts.sort(-1)
    cuts = torch.zeros(maps, pixels + 1, dtype=torch.int32, device=labels.device)
    cuts.scatter_add_(-1, ascending, torch.ones_like(ascending, dtype=torch.int32))
    between = cuts.cumsum(-1, dtype=torch.int32)[:, :-1]  # which cuts a pixel lies between
    first = torch.arange(maps, dtype=torch.int32, device=labels.device)[:, None]
    bins = (first * (choices + 1) + between) * (masks + 2) + labels
    amounts = torch.bincount(bins.flatten(), minlength=maps * (choices + 1) * (masks + 2))
    kept = amounts.view(maps, choices + 1, masks + 2).cumsum(1)[:, :-1]
    covered = torch.empty_like(kept).scatter_(1, places[..., None].expand_as(kept), kept)
    both = rearrange(covered[..., 1 : masks + 1], "k s q -> k q s")
    areas = segments.masks[0].sum(-1).long()[:, None]
    return (both / (counts[:, None] + areas - both).clamp_min(1)).float()


def mean_best(indices: Tensor, segments: Segments) -> Tensor:
    """Return (b, s): the mean over an image's counted masks of the best Jaccard index (b, k, q, s) of any map.

    An image without a counted mask gets nan.
    """
    counted = segments.counted[..., None].to(indices.dtype)
    return (indices.amax(dim=1) * counted).sum(1) / counted.sum(1)


# Shares of the pixels that are tried for the best threshold of an image; masks are small more often than large.
BEST_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


BLOCK = 2**22  # pixels of maps that are sorted at once


def fit_maps(maps: Tensor, masks: Sequence[Segments], shares: Sequence[float]) -> list[Tensor]:
    """Return the Jaccard indices (b, k, q, s) of maps (b, k, n) with each of several `masks` of as many images.

    The pixels of each map are sorted once, whatever they are compared with. The s choices are `shares` of the known
    pixels, `BEST_SHARES` of them, and `shares` of the mass.
    """
    pixels = masks[0].labels.shape[1]
    kept = torch.tensor([*shares, *BEST_SHARES], device=maps.device, dtype=torch.float64)
    indices: list[list[Tensor]] = [[] for _ in masks]
    for image in range(len(maps)):
        for block in maps[image : image + 1].split(max(1, BLOCK // pixels), dim=1):
            values = to_pixels(block, math.isqrt(pixels))[0]
            order = descending_order(values)
            for found, segments in zip(indices, masks, strict=True):
                of = segments.of(image)
                ranked = rank_pixels(values, of.known[0], order)
                counts = torch.cat([keep_pixels(ranked, kept), keep_mass(ranked, kept[: len(shares)])], dim=-1)
                found.append(jaccard(ranked, of, counts))
    return [rearrange(torch.cat(found), "(b k) q s -> b k q s", b=len(maps)) for found in indices]


class AttentionConfig(Settings):
    """Where latents look, compared with segmentation masks (paper, section 5, Tab. 2, Fig. 8, 9, 13, 16)."""

    sets: tuple[str, ...]  # image sets with masks, of any role
    images: PositiveInt | None  # of each set, drawn at random; null takes all
    layer: PositiveInt  # of the latent decoder, from 1
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...]  # of a map that is kept as its segment
    smallest_mask: float = Field(ge=0, lt=1)  # share of the image; smaller masks are left out
    examples: PositiveInt  # images of each set whose maps are shown
    batch_size: int = Field(ge=2)  # a control gives an image the maps of another one of its batch
    halting: NonNegativeInt = 0  # images of each set that are rolled out with and without halting as well; 0: none
    halting_probability: float = Field(0.55, ge=0, le=1)  # see `Halting`; bases without ids go by its distance


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
    segments = segments.only(largest)
    steps = list(rollout_maps(tokenizer, shown, config.layer))
    fits = [fit_maps(step.maps, (segments,), config.shares)[0][..., 0, 0] for step in steps]  # of (b, k) each
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


class AttentionTables(NamedTuple):
    """The tables of the attention study; docs/studies/attention.md describes their columns."""

    overlap: pd.DataFrame
    sparsity: pd.DataFrame
    examples: pd.DataFrame
    halting: pd.DataFrame
    halted: pd.DataFrame


@torch.no_grad()
def measure_attention(
    tokenizer: AdaptiveTokenizer,
    sets: Iterable[ImageSet],
    shown: Collection[str],
    config: AttentionConfig,
    seed: int,
    scratch: Path,
    fabric: "Fabric | None" = None,
) -> AttentionTables | None:
    """Compare latents' maps, and those of every control, with the masks of each image at each iteration.

    The masks themselves are scored like maps under the rules that fix how many pixels are kept: no map can fit better.

    Args:
        tokenizer: in eval mode; sets are read at its image size.
        sets: image sets with masks, of different names.
        shown: names of the sets whose pictures anyone may be shown.
        config: images of each set, layer, shares of a map that are kept, smallest mask, examples.
        seed: of the sample of images and of the controls.
        scratch: where finished batches are kept, for these images, weights and settings alone.
        fabric: the processes that share the batches; by default this one alone, on the CPU.

    Returns:
        The tables; None in every process but the first.

    Raises:
        DataError: a set has no masks, none that is large enough, or fewer than two images.
    """
    fabric = fabric or build_fabric("cpu", 1)
    parts = [_measure_set(tokenizer, images, config, seed, scratch / images.name, fabric) for images in sets]
    if not fabric.is_global_zero:
        return None
    tables = AttentionTables(*(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)))
    return tables._replace(
        examples=tables.examples.assign(publishable=tables.examples["dataset"].isin(list(shown))),
        halted=tables.halted.assign(publishable=tables.halted["dataset"].isin(list(shown))),
    )


def _measure_set(
    tokenizer: AdaptiveTokenizer, images: ImageSet, config: AttentionConfig, seed: int, scratch: Path, fabric: "Fabric"
) -> AttentionTables | None:
    # A set may be sorted by class; in random order the maps of another image are those of any image.
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).numpy()[: config.images]
    if len(rows) < 2:
        raise DataError(f"expected at least two images in {images.name} to shuffle maps between, found {len(rows)}")
    batches = np.array_split(rows, max(1, len(rows) // config.batch_size))

    def work(number: int) -> Mapping[str, np.ndarray]:
        generator = derive_generator(seed, "attention", images.name, number)
        return _measure_batch(tokenizer, images, batches[number], config, generator, seed)._asdict()

    store = PieceStore(scratch)
    store.fill(fabric, list(map(len, batches)), work, f"attention on {images.name}")
    halting, halted = measure_halting(tokenizer, images, rows[: config.halting], config, seed, scratch, fabric)
    if not fabric.is_global_zero:
        return None
    measured = [BatchScores(**store.read(number)) for number in range(len(batches))]
    usable = np.concatenate([batch[part.large] for batch, part in zip(batches, measured, strict=True)])
    if not len(usable):
        raise DataError(f"expected masks of {config.smallest_mask:.1%} of an image in {images.name}, found none")
    names = images.manifest["image_id"].astype(str).to_numpy()
    overlap, sparsity = [], []
    for batch, part in zip(batches, measured, strict=True):
        overlap.append(_overlap_rows(names[batch], part, config.shares))
        sparsity.append(_sparsity_rows(names[batch], part, config.layer))
    examples = trace_examples(tokenizer, images, usable[: config.examples].tolist(), config)
    tables = AttentionTables(pd.concat(overlap), pd.concat(sparsity), examples, halting, halted)
    for table in tables:
        table.insert(0, "dataset", images.name)
    return tables


class BatchScores(NamedTuple):
    """What is measured of b images, at t iterations."""

    miou: np.ndarray  # (t, sources, b, rules), see `SOURCES` and `rule_scores`
    share: np.ndarray  # the same; of the pixels or of the mass
    sparsity: (
        np.ndarray
    )  # (t, l, 2, b, 2): entropy and Gini index of the first iteration's latents, and of all, by layer
    large: np.ndarray  # (b,) bool: a mask of the image is large enough


def _measure_batch(
    tokenizer: AdaptiveTokenizer,
    images: ImageSet,
    rows: np.ndarray,
    config: AttentionConfig,
    generator: torch.Generator,
    seed: int,
) -> BatchScores:
    device, first = next(tokenizer.parameters()).device, tokenizer.config.tokens_per_iteration
    segments = read_segments(images, rows, config.smallest_mask, device)
    most = fit_maps(segments.masks, (segments,), config.shares)[0]
    lasting: Mapping[str, Tensor] | None = None
    miou, share, sparsity = [], [], []
    for step in rollout_maps(tokenizer, images.images(rows).to(device), config.layer):
        if lasting is None:
            maps = tokenizer.lengths[-1]
            lasting = fit_lasting_controls(step.features, maps, segments, config.shares, generator, seed)
        fits = [*fit_sources(step, segments, config.shares, first, generator, lasting), ("masks", most)]
        assert tuple(source for source, _ in fits) == SOURCES
        scores = [rule_scores(mean_best(indices, segments), config.shares) for _, indices in fits]
        miou.append(torch.stack([score.miou for score in scores]))
        share.append(torch.stack([score.share for score in scores]))
        groups = (step.layers[:, :, :first], step.layers)
        measures = [torch.stack([entropy(maps).mean(-1), gini(maps).mean(-1)], dim=-1) for maps in groups]
        sparsity.append(torch.stack(measures, dim=1))
    arrays = (torch.stack(part).cpu().numpy() for part in (miou, share, sparsity))
    return BatchScores(*arrays, large=segments.counted.any(dim=1).cpu().numpy())


SOURCES = ("latents", "first_latents", "shuffled", "clusters", "placed_blobs", "centered_blobs", "random", "masks")


def fit_lasting_controls(
    features: Tensor, count: int, segments: Segments, shares: Sequence[float], generator: torch.Generator, seed: int
) -> dict[str, Tensor]:
    """Return the Jaccard indices (b, count, q, s) of the controls whose maps stay the same over the iterations.

    Args:
        features: (b, n, z) of the base encoder.
        count: maps of each, as many as there are latents at the last iteration; an iteration takes the first ones.
        segments: the masks.
        shares: of a map that are kept.
        generator: of the random maps.
        seed: of k-means.
    """
    images, places, _ = features.shape
    maps = {
        "clusters": cluster_maps(features, count, seed),
        "random": random_maps(features.new_empty(images, count, places), generator),
    }
    return {source: fit_maps(each, (segments,), shares)[0] for source, each in maps.items()}


def fit_sources(
    step: LatentMaps,
    segments: Segments,
    shares: Sequence[float],
    first: int,
    generator: torch.Generator,
    lasting: Mapping[str, Tensor],
) -> Iterator[tuple[str, Tensor]]:
    """Yield (source, Jaccard indices (b, k, q, s)): of the latents' own maps, the first iteration's, and the controls.

    Every control has as many maps as there are latents: the more maps, the better the best of them fits by chance.
    `lasting` are those of `fit_lasting_controls`.
    """
    own, of_next = fit_maps(step.maps, (segments, segments.of_next()), shares)
    latents = step.maps.shape[1]
    yield "latents", own
    yield "first_latents", own[:, :first]
    yield "shuffled", of_next.roll(1, dims=0)  # each image against the maps of the one before: nothing of the image
    yield "clusters", lasting["clusters"][:, :latents]
    yield "placed_blobs", fit_maps(placed_blobs(step.maps, generator), (segments,), shares)[0]
    yield "centered_blobs", fit_maps(centered_blobs(step.maps), (segments,), shares)[0]
    yield "random", lasting["random"][:, :latents]


class Scores(NamedTuple):
    """The mean overlap of b images with each way to cut a segment out of a map: `shares` of the pixels, as many pixels
    as fit the image's masks best, `shares` of the mass.
    """

    share: Tensor  # (b, rules) of the pixels or of the mass
    miou: Tensor  # (b, rules)


def rule_scores(scores: Tensor, shares: Sequence[float]) -> Scores:
    """Choose the best share of each image among `BEST_SHARES`; `scores` (b, s) are of the choices of `fit_maps`."""
    by_pixels, by_tried, by_mass = scores.split([len(shares), len(BEST_SHARES), len(shares)], dim=-1)
    best = by_tried.max(dim=-1, keepdim=True)
    fixed = torch.tensor(shares, device=scores.device, dtype=torch.float64).expand(len(scores), -1)
    tried = torch.tensor(BEST_SHARES, device=scores.device, dtype=torch.float64)[best.indices]
    return Scores(torch.cat([fixed, tried, fixed], dim=1), torch.cat([by_pixels, best.values, by_mass], dim=1))


def _overlap_rows(names: np.ndarray, part: BatchScores, shares: Sequence[float]) -> pd.DataFrame:
    """Return a row per iteration, source, image with a large mask, and rule.

    The masks have none under the rule of mass: it lets each map choose how many pixels it keeps, and a map can then fit
    a mask better than the mask's own 40 % do.
    """
    rules = ["pixels"] * len(shares) + ["best"] + ["mass"] * len(shares)
    iterations, sources, _, _ = part.miou.shape
    images = int(part.large.sum())
    table = pd.DataFrame(
        {
            "image_id": np.tile(np.repeat(names[part.large], len(rules)), iterations * sources),
            "rule": np.tile(rules, iterations * sources * images),
            "share": part.share[:, :, part.large].ravel(),
            "miou": part.miou[:, :, part.large].ravel(),
            "iteration": np.repeat(np.arange(1, iterations + 1), sources * images * len(rules)),
            "source": np.tile(np.repeat(SOURCES, images * len(rules)), iterations),
        }
    )
    return table.loc[(table["source"] != "masks") | (table["rule"] != "mass")]


def _sparsity_rows(names: np.ndarray, part: BatchScores, shown: int) -> pd.DataFrame:
    """Return a row per iteration, layer, group of latents and image: means over the group's maps."""
    iterations, layers, groups, images, _ = part.sparsity.shape
    layer = np.tile(np.repeat(np.arange(1, layers + 1), groups * images), iterations)
    return pd.DataFrame(
        {
            "image_id": np.tile(names, iterations * layers * groups),
            "source": np.tile(np.repeat(["first_latents", "latents"], images), iterations * layers),
            "entropy": part.sparsity[..., 0].ravel(),
            "gini": part.sparsity[..., 1].ravel(),
            "iteration": np.repeat(np.arange(1, iterations + 1), layers * groups * images),
            "layer": layer,
            "shown": layer == shown,
        }
    )


def measure_halting(
    tokenizer: AdaptiveTokenizer,
    images: ImageSet,
    rows: np.ndarray,
    config: AttentionConfig,
    seed: int,
    scratch: Path,
    fabric: "Fabric",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Roll some images of a set out with and without halting.

    Returns:
        One row per image and iteration: image_id, iteration, length, masked (share of the image tokens, before the
        iteration), l1, l1_halting, open_error, open_error_halting, saved, decoding (see `HaltingStep`). And, of the
        first `config.examples` images, image_id, iteration from the second, halted (n bool) and picture (a PNG file).
        Both are empty where no images are asked for, where the tokenizer makes one pass, and in every process but the
        first.
    """
    device, names = next(tokenizer.parameters()).device, images.manifest["image_id"].astype(str).to_numpy()
    batches = np.array_split(rows, max(1, len(rows) // config.batch_size)) if len(rows) else []
    halting = Halting(probability=config.halting_probability)

    def work(number: int) -> Mapping[str, np.ndarray]:
        generator = derive_generator(seed, "halting", images.name, number, device=device)
        shown = images.images(batches[number]).to(device)
        try:
            steps = list(compare_halting(tokenizer, shown, halting, generator))
        except NotMeasurable:
            steps = []
        return _halting_arrays(steps)

    store = PieceStore(scratch / "halting")
    store.fill(fabric, list(map(len, batches)), work, f"halting on {images.name}")
    tables, pictures = [pd.DataFrame(columns=HALTING_COLUMNS)], [pd.DataFrame(columns=HALTED_COLUMNS)]
    if not fabric.is_global_zero:
        return tables[0], pictures[0]
    left = config.examples
    for number, batch in enumerate(batches):
        part = store.read(number)
        for place, row in enumerate(batch if len(part["iteration"]) else ()):
            values = {name: part[name][:, place] for name in HALTING_COLUMNS[3:]}
            about = {"image_id": names[row], "iteration": part["iteration"]}
            tables.append(pd.DataFrame({**about, "length": part["length"], **values}))
            if left > 0:
                left -= 1
                picture = _png(rearrange(images.images([int(row)])[0], "c h w -> h w c"))
                seen = {"iteration": part["iteration"][1:], "halted": list(part["halted"][1:, place])}
                pictures.append(pd.DataFrame({"image_id": names[row], **seen, "picture": picture}))
    return _stacked(tables), _stacked(pictures)


HALTING_COLUMNS = ["image_id", "iteration", "length", "masked", "l1", "l1_halting", "open_error", "open_error_halting"]
HALTING_COLUMNS += ["saved", "decoding"]
HALTED_COLUMNS = ["image_id", "iteration", "halted", "picture"]


def _halting_arrays(steps: Sequence[HaltingStep]) -> dict[str, np.ndarray]:
    """Return what is kept of t iterations of b images, (t, b) or (t,) each, halted (t, b, n)."""

    def stacked(of: Callable[[HaltingStep], Tensor]) -> np.ndarray:
        return np.stack([of(step).cpu().numpy() for step in steps]) if steps else np.empty((0, 0))

    return {
        "iteration": np.array([step.iteration for step in steps], np.int64),
        "length": np.array([step.length for step in steps], np.int64),
        "halted": stacked(lambda step: step.halted),
        "masked": stacked(lambda step: step.halted.float().mean(-1)),
        "l1": stacked(lambda step: step.without.l1),
        "l1_halting": stacked(lambda step: step.halting.l1),
        "open_error": stacked(lambda step: step.without.open_error),
        "open_error_halting": stacked(lambda step: step.halting.open_error),
        "saved": stacked(lambda step: step.saved),
        "decoding": stacked(lambda step: torch.full_like(step.without.l1, step.decoding)),
    }


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tables, of which the first is empty and names the columns."""
    return pd.concat(tables[1:], ignore_index=True) if len(tables) > 1 else tables[0]
