"""Token attention: maps of the latents beside controls, their overlap with segments, and how sparse they are.

Paper, section 5, Tab. 2, Fig. 8, 9, 13 and 16; docs/studies/attention.md says what each table holds. The measurement of
whole image sets; `maps` has the maps and the controls, `overlap` how well maps cover segments, `halting` what image
tokens halt.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from alit.data.images import to_png
from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.models.distillation import Halting
from alit.settings import Settings
from alit.studies.attention.measure.halting import measure_halting
from alit.studies.attention.measure.maps import (
    LatentMaps,
    centered_blobs,
    cluster_maps,
    entropy,
    gini,
    placed_blobs,
    random_maps,
    rollout_maps,
)
from alit.studies.attention.measure.overlap import Segments, fit_maps, mean_best, rule_scores, segment_masks
from alit.tokenizer.protocol import Tokenizer, device_of
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric, derive_generator
from alit.training.engine.processes import PieceStore

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


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
    tokenizer: Tokenizer, images: ImageSet, rows: Sequence[int], config: AttentionConfig
) -> pd.DataFrame:
    """Follow two latents for the largest mask of each image: the best of the first iteration's, and the best of all.

    They are picked, as the paper's are: at the last iteration, by their Jaccard index with the mask, with the first of
    `config.shares` of the pixels kept.

    Returns:
        One row per image, latent and iteration that has it: image_id, among ("first_latents" or "latents"), latent
        (from 1), iteration, jaccard, map (n numbers), picture and outline (PNG files of the image and of the mask).
    """
    device = device_of(tokenizer)
    shown = images.images(rows).to(device)
    segments = read_segments(images, rows, config.smallest_mask, device)
    largest = (segments.masks.sum(-1) * segments.counted).argmax(dim=1)
    segments = segments.only(largest)
    steps = list(rollout_maps(tokenizer, shown, config.layer))
    fits = [fit_maps(step.maps, (segments,), config.shares)[0][..., 0, 0] for step in steps]  # of (b, k) each
    names = images.manifest["image_id"].astype(str).to_numpy()
    found = []
    for number, row in enumerate(rows):
        outline = rearrange(segments.masks[number, 0], "(h w) -> h w", h=images.image_size).mul(255).byte().cpu()
        files = {"picture": to_png(images.view(row)), "outline": to_png(outline.numpy())}
        for among, count in (("first_latents", tokenizer.lengths[0]), ("latents", None)):
            latent = int(fits[-1][number, :count].argmax())
            there = [place for place, step in enumerate(steps) if step.maps.shape[1] > latent]
            trace = {
                "iteration": [steps[place].iteration for place in there],
                "jaccard": [float(fits[place][number, latent]) for place in there],
                "map": [steps[place].maps[number, latent].cpu().numpy() for place in there],
            }
            about = {"image_id": names[row], "among": among, "latent": latent + 1}
            found.append(pd.DataFrame({**about, **trace, **files}))
    return pd.concat(found, ignore_index=True)


class AttentionTables(NamedTuple):
    """The tables of the attention study; docs/studies/attention.md describes their columns."""

    overlap: pd.DataFrame
    sparsity: pd.DataFrame
    examples: pd.DataFrame
    halting: pd.DataFrame
    halted: pd.DataFrame


@torch.no_grad()
def measure_attention(
    tokenizer: Tokenizer,
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
        tokenizer: in eval mode; sets are read at its image size. Any with `attention_maps`: see `attention_of`.
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
    tokenizer: Tokenizer, images: ImageSet, config: AttentionConfig, seed: int, scratch: Path, fabric: "Fabric"
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
    halts = config.halting if isinstance(tokenizer, AdaptiveTokenizer) else 0
    halting, halted = measure_halting(
        tokenizer,
        images,
        rows[:halts],
        Halting(probability=config.halting_probability),
        examples=config.examples,
        batch_size=config.batch_size,
        seed=seed,
        scratch=scratch / "halting",
        fabric=fabric,
    )
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
    tokenizer: Tokenizer,
    images: ImageSet,
    rows: np.ndarray,
    config: AttentionConfig,
    generator: torch.Generator,
    seed: int,
) -> BatchScores:
    device, first = device_of(tokenizer), tokenizer.lengths[0]
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
