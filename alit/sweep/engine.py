"""The sweep itself: streams image sets through a tokenizer once, by chunks, and resumes after any stop."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor, nn
from tqdm import tqdm

from alit.errors import DataError
from alit.settings import Settings
from alit.sweep.schema import as_table, column_of, validate_table
from alit.sweep.store import CONFIG_FILE, ChunkStore
from alit.tasks.protocol import QUANTISATION, FeatureExtractor, SweepBatch, Task, round_to_8_bit, weights_sha256
from alit.tokenizer.adapters import compress
from alit.tokenizer.protocol import Reconstruction, Tokenizer


class SweepConfig(Settings):
    """The pass that measures every image at every length."""

    chunk_size: PositiveInt  # images per resumable chunk
    tokenizer_batch: PositiveInt


CODECS = ("jpeg", "webp")
CODEC_QUALITY = 75  # Pillow's default for JPEG


class SweepSet(Protocol):
    """The part of `alit.data.imageset.ImageSet` that a sweep reads."""

    name: str
    image_size: int
    class_names: tuple[str, ...]
    manifest: pd.DataFrame

    def __len__(self) -> int: ...

    def images(self, indices: np.ndarray) -> Tensor:
        """Return float32 images (b, 3, h, w) in [0, 1]."""
        ...

    def labels(self, indices: np.ndarray) -> Tensor:
        """Return int64 labels (b,), -1 where unknown."""
        ...

    def depth(self, indices: np.ndarray) -> Tensor | None:
        """Return depth (b, h, w) in meters, or None."""
        ...

    def inverse_depth(self, indices: np.ndarray) -> Tensor | None:
        """Return relative inverse depth (b, h, w), larger is nearer, or None."""
        ...

    def captions(self, indices: np.ndarray) -> list[str | None]:
        """Return the reference caption of each image, None where there is none."""
        ...


class Chunk(NamedTuple):
    """Consecutive images of one set."""

    images: SweepSet
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class SweepModels(NamedTuple):
    """All that looks at an image."""

    tokenizer: Tokenizer
    tasks: tuple[Task, ...]
    extractors: tuple[FeatureExtractor, ...]
    device: torch.device


class Measured(NamedTuple):
    """Rows of the table, and per extractor their features (rows, f) float32."""

    table: pd.DataFrame
    features: dict[str, np.ndarray]


class _Length(NamedTuple):
    """One length of one batch."""

    length: int
    columns: dict[str, np.ndarray]  # (b,) each
    features: dict[str, np.ndarray]  # (b, f) each


def file_sizes(images: Tensor, codec: str) -> np.ndarray:
    """Return the bytes (b,) of images (b, 3, h, w) in [0, 1] as files: how complex a codec finds them."""
    pixels = rearrange(images, "b c h w -> b h w c").mul(255).round().to(torch.uint8).cpu().numpy()
    return np.array([len(compress(image, codec, CODEC_QUALITY)) for image in pixels], dtype=np.float64)


@torch.no_grad()
def measure_chunk(chunk: Chunk, models: SweepModels, batch_size: int) -> Measured:
    """Measure every image of a chunk at length 0 and at each length of the tokenizer.

    Raises:
        DataError: the tokenizer broke its protocol, or a score is outside its column's range.
    """
    starts = range(chunk.start, chunk.stop, batch_size)
    batches = [
        _measure_batch(chunk.images, np.arange(start, min(start + batch_size, chunk.stop)), models) for start in starts
    ]
    table = pd.concat([batch.table for batch in batches], ignore_index=True)
    names = [extractor.name for extractor in models.extractors]
    features = {name: np.concatenate([batch.features[name] for batch in batches]) for name in names}
    source = f"{chunk.images.name}[{chunk.start}:{chunk.stop}] by {models.tokenizer.name}"
    return Measured(validate_table(table, source), features)


def _measure_batch(images: SweepSet, indices: np.ndarray, models: SweepModels) -> Measured:
    batch = _read_batch(images, indices, models.device)
    references = [task.reference(batch) for task in models.tasks]
    untouched = Reconstruction(0, torch.full((len(indices),), torch.nan), batch.images)
    lengths = [_measure_length(untouched, batch, references, models)]
    for reconstruction in models.tokenizer.reconstructions(batch.images):
        if reconstruction.images.shape != batch.images.shape:
            raise DataError(
                f"expected reconstructions of shape {tuple(batch.images.shape)} from "
                f"{models.tokenizer.name}, found {tuple(reconstruction.images.shape)}"
            )
        as_file = reconstruction._replace(images=round_to_8_bit(reconstruction.images))
        lengths.append(_measure_length(as_file, batch, references, models))
    found = tuple(length.length for length in lengths[1:])
    if found != tuple(models.tokenizer.lengths):
        raise DataError(
            f"expected reconstructions at lengths {models.tokenizer.lengths} from "
            f"{models.tokenizer.name}, found {found}"
        )
    return _in_table_order(images, indices, batch, lengths)


def _read_batch(images: SweepSet, indices: np.ndarray, device: torch.device) -> SweepBatch:
    depth, inverse_depth = images.depth(indices), images.inverse_depth(indices)
    return SweepBatch(
        images.images(indices).to(device),
        images.labels(indices),
        images.class_names,
        None if depth is None else depth.to(device),
        images.captions(indices),
        None if inverse_depth is None else inverse_depth.to(device),
    )


def _measure_length(
    shown: Reconstruction, batch: SweepBatch, references: Sequence[object], models: SweepModels
) -> _Length:
    columns = {"bits": shown.bits.float().cpu().numpy()}
    for task, reference in zip(models.tasks, references, strict=True):
        columns.update(task.score(shown.images, reference, batch))
    features = {
        extractor.name: extractor.features(shown.images).float().cpu().numpy() for extractor in models.extractors
    }
    return _Length(shown.length, columns, features)


def _in_table_order(images: SweepSet, indices: np.ndarray, batch: SweepBatch, lengths: Sequence[_Length]) -> Measured:
    """Turn lengths x images into rows that are sorted by image, then length."""
    manifest = images.manifest.iloc[indices]
    known = np.where(batch.labels.numpy() >= 0, batch.labels.numpy(), np.nan)
    per_image = {
        "dataset": [images.name] * len(indices),
        "split": manifest["split"].astype(str).to_numpy(),
        "image_id": manifest["image_id"].astype(str).to_numpy(),
        "label": known,
        "complexity": manifest["complexity"].to_numpy(dtype=np.float64, na_value=np.nan),
        **{f"{codec}_bytes": file_sizes(batch.images, codec) for codec in CODECS},
    }
    repeated = {name: np.repeat(values, len(lengths)) for name, values in per_image.items()}
    scored = {
        name: np.stack([length.columns[name] for length in lengths], axis=1).ravel()  # image major
        for name in lengths[0].columns
    }
    features = {
        name: rearrange([length.features[name] for length in lengths], "length b f -> (b length) f")
        for name in lengths[0].features
    }
    length = np.tile([length.length for length in lengths], len(indices))
    return Measured(as_table({**repeated, "length": length, **scored}), features)


def sweep(
    tokenizer: Tokenizer,
    sets: Iterable[SweepSet],
    tasks: Iterable[Task],
    extractors: Iterable[FeatureExtractor],
    *,
    config: SweepConfig,
    scratch: Path,
    out: Path,
    device: torch.device | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Measure every image of every set at every length and write `table.parquet`, features and `config.json`.

    Reconstructions are rounded to 8 bit before anything looks at them. Peak memory depends on the chunk, not
    on the number of images. Finished chunks are kept under `scratch` until the whole is written; they are
    found again only by a sweep of the same images, weights and settings. Where `out` holds the whole of such a
    sweep already, nothing is done.

    Args:
        tokenizer: on `device`. sets: image sets of the tokenizer's image size, of different names. tasks: see
        `alit.tasks.registry`; on `device`. extractors: for the feature arrays; on `device`. config: chunk and
        batch sizes. scratch: folder of resume state. out: folder of the result, replaced whole. device: where
        networks run; by default the CPU. settings: anything else that the numbers depend on or that should be
        on record beside them (JSON values).

    Raises:
        DataError: no images, repeated names or ids, images of another size, or an undeclared column.
    """
    models = SweepModels(tokenizer, tuple(tasks), tuple(extractors), device or torch.device("cpu"))
    ordered = sorted(sets, key=lambda images: images.name)
    _check(ordered, models)
    record = json.loads(json.dumps(_record(ordered, models, config, settings or {})))
    if _record_of(out) == record:
        return
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    store = ChunkStore(scratch / f"sweep-{digest[:16]}")
    chunks = _chunks(ordered, config.chunk_size)
    finished = sum(len(chunk) for index, chunk in enumerate(chunks) if store.finished(index))
    total = sum(len(chunk) for chunk in chunks)
    with tqdm(total=total, initial=finished, desc="sweep", unit="image") as bar:
        for index, chunk in enumerate(chunks):
            if not store.finished(index):
                store.write(index, *measure_chunk(chunk, models, config.tokenizer_batch))
                bar.update(len(chunk))
    store.assemble(len(chunks), [extractor.name for extractor in models.extractors], record, out)


def _record_of(folder: Path) -> Any:
    """Return the record of a finished sweep, or None."""
    path = folder / CONFIG_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def _chunks(sets: list[SweepSet], size: int) -> list[Chunk]:
    return [
        Chunk(images, start, min(start + size, len(images))) for images in sets for start in range(0, len(images), size)
    ]


def _check(sets: list[SweepSet], models: SweepModels) -> None:
    names = [images.name for images in sets]
    if not sum(len(images) for images in sets):
        raise DataError("expected image sets to evaluate, found no image; add a set with role: evaluate")
    if len(set(names)) < len(names):
        raise DataError(f"expected image sets of different names, found {', '.join(names)}; rename one")
    for images in sets:
        if images.image_size != models.tokenizer.image_size:
            raise DataError(
                f"expected images of {models.tokenizer.image_size} px for {models.tokenizer.name}, "
                f"found {images.image_size} px in {images.name}; make the set at the tokenizer's size"
            )
        twice = images.manifest.loc[images.manifest["image_id"].duplicated(), "image_id"].tolist()
        if twice:
            raise DataError(
                f"expected image ids of {images.name} once each, found {twice[0]} again; make the set again"
            )
    for column in (column for task in models.tasks for column in task.columns):
        if column_of(column) is None:
            raise DataError(
                f"expected columns of docs/sweep-table.md, found {column}; names of task models are letters, "
                "digits and underscores"
            )


def _record(
    sets: list[SweepSet], models: SweepModels, config: SweepConfig, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what the numbers are made with; the digest of this names the resume state."""
    tokenizer = models.tokenizer
    return {
        "tokenizer": {
            "name": tokenizer.name,
            "image_size": tokenizer.image_size,
            "lengths": list(tokenizer.lengths),
            "base_tokens": tokenizer.base_tokens,
            "weights_sha256": weights_sha256(tokenizer) if isinstance(tokenizer, nn.Module) else None,
        },
        "images": [
            {
                "dataset": images.name,
                "images": len(images),
                "image_size": images.image_size,
                "view": "short side resized (bicubic, antialiased), center crop",
                "class_names": list(images.class_names),
                "manifest_sha256": _manifest_sha256(images.manifest),
            }
            for images in sets
        ],
        "reconstructions": QUANTISATION,
        "seed": None,  # nothing is drawn: halting is off in the evaluation phase
        "tasks": [dict(task.record) for task in models.tasks],
        "extractors": [dict(extractor.record) for extractor in models.extractors],
        "sweep": config.model_dump(),
        **settings,
    }


def _manifest_sha256(manifest: pd.DataFrame) -> str:
    return hashlib.sha256(manifest.to_csv(index=False).encode()).hexdigest()


class SweepJob(NamedTuple):
    """A tokenizer that has a sweep to come."""

    load: Callable[[], Tokenizer]  # onto the sweep's device; one at a time is in memory
    settings: Mapping[str, Any]  # what else its numbers depend on, or should be on record (JSON values)


def sweep_many(
    tokenizers: Mapping[str, SweepJob],
    sets: Iterable[SweepSet],
    tasks: Iterable[Task],
    extractors: Iterable[FeatureExtractor],
    *,
    config: SweepConfig,
    scratch: Path,
    device: torch.device,
) -> Path:
    """Sweep one tokenizer after another and return the folder that holds their sweeps, `<folder>/<name>`.

    What is finished stays there until the caller has moved it: a run that was stopped only repeats what is not, or
    what was measured with other weights, images or settings.

    Args:
        tokenizers: by name of their folder.
        sets: as for `alit.sweep.engine.sweep`, and so are tasks, extractors, config and device.
        scratch: a folder of this caller's own; sweeps of names that are no longer asked for are removed from it.
    """
    sets, tasks, extractors = list(sets), list(tasks), list(extractors)
    folder = scratch / "finished"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other.name not in tokenizers:
            shutil.rmtree(other)
    for name, entrant in tokenizers.items():
        print(f"sweep of {name}", flush=True)
        sweep(
            entrant.load(),
            sets,
            tasks,
            extractors,
            config=config,
            scratch=scratch,
            out=folder / name,
            device=device,
            settings=entrant.settings,
        )
    return folder


def move_whole(folder: Path, out: Path) -> None:
    """Put a folder in the place of another; it may come from another disk."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
