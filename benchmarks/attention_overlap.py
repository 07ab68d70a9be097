"""CPU seconds an image of comparing attention maps with masks at full size, and the same by the plain form.

    python benchmarks/attention_overlap.py [--images 2] -o benchmarks/results/attention_overlap.json

256 px, 16 x 16 places, 32, 64, ..., 256 latents, random maps as peaked as a softmax's and random base features, three
masks and a border without label. The plain form sorts and compares the same maps again for each share, source and mask;
`reference_scores` is also what the tests hold the fast form against. No tokenizer runs. The benchmark fails where
scores differ by more than 1e-4 or an image takes more than 20 CPU seconds.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from alit.data.sources import UNKNOWN_SEGMENT
from alit.studies.attention.measure import fit_lasting_controls, fit_sources
from alit.studies.attention.measure.maps import (
    LatentMaps,
    centered_blobs,
    cluster_maps,
    placed_blobs,
    random_maps,
    to_pixels,
)
from alit.studies.attention.measure.overlap import (
    BEST_SHARES,
    Segments,
    fit_maps,
    mean_best,
    rule_scores,
    segment_masks,
)

BAR = 20.0  # CPU seconds an image
TOLERANCE = 1e-4
SHARES = (0.2, 0.4, 0.6, 0.8)  # of configs/paper.yaml
SIZE, GRID, TOKENS, ITERATIONS = 256, 16, 32, 8


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, compare and write."""
    from common import machine, write_result

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    segments = random_segments(arguments.images, generator)
    seconds: dict[str, float] = {}
    steps = [random_step(arguments.images, iteration, generator) for iteration in range(1, ITERATIONS + 1)]
    found = {}
    for name, scores in (("now", current_scores), ("plain", reference_scores)):
        start = time.process_time()
        found[name] = list(tqdm(scores(steps, segments, torch.Generator().manual_seed(1)), desc=name, total=ITERATIONS))
        seconds[name] = (time.process_time() - start) / arguments.images
    different = (torch.stack(found["now"]) - torch.stack(found["plain"])).abs().max().item()
    write_result(
        {
            "cpu_seconds_an_image": {name: round(value, 1) for name, value in seconds.items()},
            "greatest_difference": different,
            "images": arguments.images,
            "bar": {"cpu_seconds_an_image": BAR, "difference": TOLERANCE},
            "machine": machine(),
        },
        arguments.output,
    )
    if seconds["now"] > BAR or not different <= TOLERANCE:
        sys.exit("error: the comparison is too slow, or gives other scores than the plain form")


def random_step(images: int, iteration: int, generator: torch.Generator) -> LatentMaps:
    """Return maps and features of random numbers in the published sizes."""
    logits = 2 * torch.randn(images, iteration * TOKENS, GRID * GRID, generator=generator)
    features = torch.randn(images, GRID * GRID, 256, generator=torch.Generator().manual_seed(1))
    return LatentMaps(iteration, logits.softmax(-1)[None], 1, features)


def random_segments(images: int, generator: torch.Generator) -> Segments:
    """Return three blocky masks of each image, and a border without label."""
    coarse = torch.randint(0, 4, (images, 8, 8), generator=generator, dtype=torch.uint8)
    segments = coarse.repeat_interleave(SIZE // 8, 1).repeat_interleave(SIZE // 8, 2)
    segments[:, :3] = UNKNOWN_SEGMENT
    return segment_masks(segments, 0.0)


def current_scores(
    steps: Sequence[LatentMaps], segments: Segments, generator: torch.Generator, first: int = TOKENS
) -> Iterator[Tensor]:
    """Yield the mean overlap (sources, b, rules) of each iteration as the study measures it."""
    most = fit_maps(segments.masks, (segments,), SHARES)[0]
    count = steps[-1].maps.shape[1]
    lasting = fit_lasting_controls(steps[0].features, count, segments, SHARES, generator, 0)
    for step in steps:
        fits = [*fit_sources(step, segments, SHARES, first, generator, lasting), ("masks", most)]
        yield torch.stack([rule_scores(mean_best(indices, segments), SHARES).miou for _, indices in fits])


def reference_scores(
    steps: Sequence[LatentMaps], segments: Segments, generator: torch.Generator, first: int = TOKENS
) -> Iterator[Tensor]:
    """Yield the same, each source and share by itself."""
    size = int(segments.labels.shape[1] ** 0.5)
    last = steps[-1].maps
    clusters = _upsampled(cluster_maps(steps[0].features, last.shape[1], 0), size)
    noise = _upsampled(random_maps(last, generator), size)
    for step in steps:
        latents, own = step.maps.shape[1], _upsampled(step.maps, size)
        sources = [
            own,
            own[:, :first],
            own.roll(1, dims=0),
            clusters[:, :latents],
            _upsampled(placed_blobs(step.maps, generator), size),
            _upsampled(centered_blobs(step.maps), size),
            noise[:, :latents],
            segments.masks,
        ]
        yield torch.stack([_reference_overlap(pixels, segments) for pixels in sources])


def _upsampled(maps: Tensor, size: int) -> Tensor:
    # Image by image as in the study: other batches round differently, and pixels that are equal change their order.
    return torch.cat([to_pixels(each[None], size) for each in maps])


def _reference_overlap(pixels: Tensor, segments: Segments) -> Tensor:
    """Return mean overlap (b, rules) of maps (b, k, p), image by image, as if unknown pixels were not there."""
    scores = []
    for maps, masks, known, counted in zip(pixels, segments.masks, segments.known, segments.counted, strict=True):
        scores.append(_reference_rules(maps[:, known], masks[:, known], counted.float()))
    return torch.stack(scores)


def _reference_rules(maps: Tensor, masks: Tensor, counted: Tensor) -> Tensor:
    """Return mean overlap (rules,) of maps (k, m) by counting the pixels of every mask (q, m) above every threshold."""
    ordered, order = torch.sort(maps, dim=-1, descending=True, stable=True)
    ranks = torch.empty_like(order).scatter_(-1, order, torch.arange(maps.shape[-1]).expand_as(order))
    mass = ordered.cumsum(-1)
    scores = {}
    for share in {*SHARES, *BEST_SHARES}:
        count = torch.tensor(max(1, int(np.round(share * maps.shape[-1]))))
        scores["pixels", share] = _reference_mean_best(ranks < count, masks, counted)
    for share in SHARES:
        count = torch.searchsorted(mass, share * mass[..., -1:]).add(1).clamp_max(maps.shape[-1])
        scores["mass", share] = _reference_mean_best(ranks < count, masks, counted)
    best = torch.stack([scores["pixels", share] for share in BEST_SHARES]).amax(0)
    return torch.stack([*(scores["pixels", share] for share in SHARES), best, *(scores["mass", x] for x in SHARES)], -1)


def _reference_mean_best(kept: Tensor, masks: Tensor, counted: Tensor) -> Tensor:
    both = kept.float() @ masks.T
    union = kept.float().sum(-1)[:, None] + masks.sum(-1) - both
    return ((both / union.clamp_min(1)).amax(0) * counted).sum() / counted.sum()


if __name__ == "__main__":
    main()
