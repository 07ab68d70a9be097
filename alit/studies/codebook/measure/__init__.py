"""Token ids of whole image sets at every iteration, counted, and the images whose ids are most alike."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor

from alit.data.images import to_png
from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.settings import Settings
from alit.tokenizer.protocol import Tokenizer, codebook_size_of, ids_of
from alit.training.engine.fabric import build_fabric
from alit.training.engine.processes import PieceStore

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


class CodebookConfig(Settings):
    """The study of token ids."""

    batch_size: PositiveInt
    pairs: PositiveInt  # closest pairs of images kept of each set


class Nearest(NamedTuple):
    """For each of n images the other image that shares the most ids with it."""

    rows: np.ndarray  # (n,) its number
    shared: np.ndarray  # (n,) share of the positions at which both have the same id, 0 to 1


def nearest_images(ids: np.ndarray) -> Nearest:
    """Find each image's nearest by the ids (n, k) that stand at the same position.

    A latent token's position is that of the learned latent it came from, so that an id at another position means
    something else: positions are compared one by one, not as sets.

    Raises:
        DataError: there is no other image.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(ids) < 2:
        raise DataError(f"expected at least two images to compare, found {len(ids)}; set data.sets images higher")
    distances, rows = NearestNeighbors(n_neighbors=1, metric="hamming", algorithm="brute").fit(ids).kneighbors()
    return Nearest(rows[:, 0], 1 - distances[:, 0])


def closest_pairs(nearest: Nearest, count: int) -> np.ndarray:
    """Return at most `count` pairs (p, 2) of image numbers, most alike first, no image twice."""
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for row in np.argsort(-nearest.shared, kind="stable").tolist():
        other = int(nearest.rows[row])
        if len(pairs) < count and not {row, other} & taken:
            pairs.append((row, other))
            taken |= {row, other}
    return np.array(pairs, np.int64).reshape(-1, 2)


ABSENT = -1  # no such token yet


class CodebookTables(NamedTuple):
    """The tables of the codebook study (docs/studies/codebook.md); without rows where latents are continuous."""

    ids: pd.DataFrame
    usage: pd.DataFrame
    neighbors: pd.DataFrame
    pairs: pd.DataFrame


EMPTY = CodebookTables(
    ids=pd.DataFrame(columns=["dataset", "image_id", "iteration", "position", "id"]),
    usage=pd.DataFrame(columns=["dataset", "iteration", "code", "tokens"]),
    neighbors=pd.DataFrame(columns=["dataset", "iteration", "image_id", "neighbor_id", "shared"]),
    pairs=pd.DataFrame(columns=["dataset", "pair", "image_id", "neighbor_id", "shared", "image", "neighbor"]),
)


def measure_codebook(
    tokenizer: Tokenizer,
    sets: Iterable[ImageSet],
    shown: Iterable[str],
    config: CodebookConfig,
    scratch: Path,
    fabric: "Fabric | None" = None,
) -> CodebookTables | None:
    """Tokenize every image of every set at every iteration.

    Args:
        tokenizer: frozen, in eval mode; sets are read at its image size. Any whose code is ids: see `ids_of`.
        sets: image sets of different names.
        shown: names of the sets whose pictures may be shown; the pairs of the others have none.
        config: batch size, and how many pairs of each set are kept.
        scratch: where finished batches are kept, for these images, weights and settings alone.
        fabric: the processes that share the batches; by default this one alone, on the CPU.

    Returns:
        The tables; None in every process but the first.
    """
    if codebook_size_of(tokenizer) is None:
        return EMPTY
    fabric, sets, shown = fabric or build_fabric("cpu", 1), list(sets), set(shown)
    for images in sets:
        fill_ids(tokenizer, images, config.batch_size, PieceStore(scratch / images.name), fabric)
    if not fabric.is_global_zero:
        return None
    parts = [
        _measure_set(tokenizer, images, PieceStore(scratch / images.name), images.name in shown, config)
        for images in sets
    ]
    ids, usage, neighbors, pairs = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return CodebookTables(ids.astype({"dataset": "category", "image_id": "category"}), usage, neighbors, pairs)


def fill_ids(tokenizer: Tokenizer, images: ImageSet, batch_size: int, store: PieceStore, fabric: "Fabric") -> None:
    """Keep the ids (b, T, k) int32 of every batch at every iteration, `ABSENT` where a token is still to come."""
    batches = np.split(np.arange(len(images)), range(batch_size, len(images), batch_size))
    store.fill(
        fabric,
        list(map(len, batches)),
        lambda number: {"ids": rollout_ids(tokenizer, images.images(batches[number]).to(fabric.device))},
        f"ids of {images.name}",
    )


@torch.no_grad()
def rollout_ids(tokenizer: Tokenizer, images: Tensor) -> np.ndarray:
    """Return the ids (b, T, k) int32 of images (b, 3, h, w) in [0, 1] at every iteration, `ABSENT` as above.

    An iteration is one of the tokenizer's lengths, shortest first; k is the most ids of an image.
    """
    steps = [found.cpu().numpy() for _, found in ids_of(tokenizer, images)]
    ids = np.full((len(images), len(steps), max(step.shape[1] for step in steps)), ABSENT, np.int32)
    for place, step in enumerate(steps):
        ids[:, place, : step.shape[1]] = step
    return ids


def _measure_set(
    tokenizer: Tokenizer, images: ImageSet, store: PieceStore, is_shown: bool, config: CodebookConfig
) -> CodebookTables:
    ids = np.concatenate([store.read(number)["ids"] for number in range(-(-len(images) // config.batch_size))])
    names = images.manifest["image_id"].astype(str).to_numpy()
    counts = (ids[0] != ABSENT).sum(axis=1)  # of ids at each iteration, the same for all images
    by_iteration = [nearest_images(ids[:, step, :count]) for step, count in enumerate(counts)]
    nearest = by_iteration[-1]
    pairs = closest_pairs(nearest, config.pairs)
    tables = CodebookTables(
        _tidy_ids(ids, names),
        _count_codes(ids, codebook_size_of(tokenizer) or 0),
        pd.concat([_tidy_nearest(each, names, step) for step, each in enumerate(by_iteration, start=1)]),
        pd.DataFrame(
            {
                "pair": np.arange(1, len(pairs) + 1),
                "image_id": names[pairs[:, 0]],
                "neighbor_id": names[pairs[:, 1]],
                "shared": nearest.shared[pairs[:, 0]],
                "image": _pictures(images, pairs[:, 0]) if is_shown else None,
                "neighbor": _pictures(images, pairs[:, 1]) if is_shown else None,
            }
        ),
    )
    for table in tables:
        table.insert(0, "dataset", images.name)
    return tables


def _tidy_ids(ids: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    image, iteration, position = np.nonzero(ids != ABSENT)
    return pd.DataFrame(
        {
            "image_id": names[image],
            "iteration": (iteration + 1).astype(np.uint8),
            "position": (position + 1).astype(np.uint16),
            "id": ids[image, iteration, position],
        }
    )


def _tidy_nearest(nearest: Nearest, names: np.ndarray, iteration: int) -> pd.DataFrame:
    found = {"image_id": names, "neighbor_id": names[nearest.rows], "shared": nearest.shared}
    return pd.DataFrame({"iteration": np.uint8(iteration), **found})


def _count_codes(ids: np.ndarray, size: int) -> pd.DataFrame:
    """Count the tokens of each code at each iteration, codes that never occur included."""
    iterations = ids.shape[1]
    counts = np.stack([np.bincount(step[step != ABSENT], minlength=size) for step in np.moveaxis(ids, 1, 0)])
    return pd.DataFrame(
        {
            "iteration": np.repeat(np.arange(1, iterations + 1, dtype=np.uint8), size),
            "code": np.tile(np.arange(size, dtype=np.int32), iterations),
            "tokens": counts.ravel(),
        }
    )


def _pictures(images: ImageSet, rows: np.ndarray) -> list[bytes]:
    return [to_png(images.view(int(row))) for row in rows]
