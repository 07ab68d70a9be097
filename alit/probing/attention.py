"""Token attention: overlap with segments and sparsity, per image and iteration, beside controls (docs/attention.md)."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from alit.config.s_attention import AttentionConfig
from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.probing.attention_controls import centred_blobs, cluster_maps, placed_blobs, random_maps, shuffled
from alit.probing.attention_examples import read_segments, trace_examples
from alit.probing.attention_maps import LatentMaps, entropy, gini, rollout_maps, to_pixels
from alit.probing.overlap import Segments, jaccard, keep_mass, keep_pixels, mean_best, rank_pixels
from alit.tokenizer.tokenizer import AdaptiveTokenizer

# Shares of the pixels that are tried for the best threshold of an image; masks are small more often than large.
BEST_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class AttentionTables(NamedTuple):
    """The tables of the attention study; docs/attention.md describes their columns."""

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
    yield "centred_blobs", centred_blobs(step.maps)
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
