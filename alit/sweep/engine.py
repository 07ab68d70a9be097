"""The sweep itself: streams image sets through a tokenizer once, by chunks, and resumes after any stop."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from alit.config.s_sweep import SweepConfig
from alit.errors import DataError
from alit.protocol import Tokenizer
from alit.sweep.measure import Chunk, Instruments, SweepSet, measure_chunk
from alit.sweep.schema import column_of
from alit.sweep.store import CONFIG_FILE, ChunkStore
from alit.tasks.images import QUANTISATION
from alit.tasks.protocol import FeatureExtractor, Task
from alit.tasks.provenance import weights_sha256


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
        `alit.tasks.build`; on `device`. extractors: for the feature arrays; on `device`. config: chunk and
        batch sizes. scratch: folder of resume state. out: folder of the result, replaced whole. device: where
        networks run; by default the CPU. settings: anything else that the numbers depend on or that should be
        on record beside them (JSON values).

    Raises:
        DataError: no images, repeated names or ids, images of another size, or an undeclared column.
    """
    instruments = Instruments(tokenizer, tuple(tasks), tuple(extractors), device or torch.device("cpu"))
    ordered = sorted(sets, key=lambda images: images.name)
    _check(ordered, instruments)
    record = json.loads(json.dumps(_record(ordered, instruments, config, settings or {})))
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
                store.write(index, *measure_chunk(chunk, instruments, config.tokenizer_batch))
                bar.update(len(chunk))
    store.assemble(len(chunks), [extractor.name for extractor in instruments.extractors], record, out)


def _record_of(folder: Path) -> Any:
    """Return the record of a finished sweep, or None."""
    path = folder / CONFIG_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def _chunks(sets: list[SweepSet], size: int) -> list[Chunk]:
    return [
        Chunk(images, start, min(start + size, len(images))) for images in sets for start in range(0, len(images), size)
    ]


def _check(sets: list[SweepSet], instruments: Instruments) -> None:
    names = [images.name for images in sets]
    if not sum(len(images) for images in sets):
        raise DataError("expected image sets to evaluate, found no image; add a set with role: evaluate")
    if len(set(names)) < len(names):
        raise DataError(f"expected image sets of different names, found {', '.join(names)}; rename one")
    for images in sets:
        if images.image_size != instruments.tokenizer.image_size:
            raise DataError(
                f"expected images of {instruments.tokenizer.image_size} px for {instruments.tokenizer.name}, "
                f"found {images.image_size} px in {images.name}; make the set at the tokenizer's size"
            )
        twice = images.manifest.loc[images.manifest["image_id"].duplicated(), "image_id"].tolist()
        if twice:
            raise DataError(
                f"expected image ids of {images.name} once each, found {twice[0]} again; make the set again"
            )
    for column in (column for task in instruments.tasks for column in task.columns):
        if column_of(column) is None:
            raise DataError(
                f"expected columns of docs/sweep-table.md, found {column}; names of task models are letters, "
                "digits and underscores"
            )


def _record(
    sets: list[SweepSet], instruments: Instruments, config: SweepConfig, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what the numbers are made with; the digest of this names the resume state."""
    tokenizer = instruments.tokenizer
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
                "view": "short side resized (bicubic, antialiased), centre crop",
                "class_names": list(images.class_names),
                "manifest_sha256": _manifest_sha256(images.manifest),
            }
            for images in sets
        ],
        "reconstructions": QUANTISATION,
        "seed": None,  # nothing is drawn: halting is off in the evaluation phase
        "tasks": [dict(task.record) for task in instruments.tasks],
        "extractors": [dict(extractor.record) for extractor in instruments.extractors],
        "sweep": config.model_dump(),
        **settings,
    }


def _manifest_sha256(manifest: pd.DataFrame) -> str:
    return hashlib.sha256(manifest.to_csv(index=False).encode()).hexdigest()
