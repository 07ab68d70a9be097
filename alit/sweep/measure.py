"""Measuring one chunk of images: tokenizer, tasks and extractors on each batch, rows in the table's order."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from alit.codec import compress
from alit.errors import DataError
from alit.protocol import Reconstruction, Tokenizer
from alit.sweep.schema import as_table, validate_table
from alit.tasks.images import round_to_8_bit
from alit.tasks.protocol import FeatureExtractor, SweepBatch, Task

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
        """Return depth (b, h, w) in metres, or None."""
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


class Instruments(NamedTuple):
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
def measure_chunk(chunk: Chunk, instruments: Instruments, batch_size: int) -> Measured:
    """Measure every image of a chunk at length 0 and at each length of the tokenizer.

    Raises:
        DataError: the tokenizer broke its protocol, or a score is outside its column's range.
    """
    starts = range(chunk.start, chunk.stop, batch_size)
    batches = [
        _measure_batch(chunk.images, np.arange(start, min(start + batch_size, chunk.stop)), instruments)
        for start in starts
    ]
    table = pd.concat([batch.table for batch in batches], ignore_index=True)
    names = [extractor.name for extractor in instruments.extractors]
    features = {name: np.concatenate([batch.features[name] for batch in batches]) for name in names}
    source = f"{chunk.images.name}[{chunk.start}:{chunk.stop}] by {instruments.tokenizer.name}"
    return Measured(validate_table(table, source), features)


def _measure_batch(images: SweepSet, indices: np.ndarray, instruments: Instruments) -> Measured:
    batch = _read_batch(images, indices, instruments.device)
    references = [task.reference(batch) for task in instruments.tasks]
    untouched = Reconstruction(0, torch.full((len(indices),), torch.nan), batch.images)
    lengths = [_measure_length(untouched, batch, references, instruments)]
    for reconstruction in instruments.tokenizer.reconstructions(batch.images):
        if reconstruction.images.shape != batch.images.shape:
            raise DataError(
                f"expected reconstructions of shape {tuple(batch.images.shape)} from "
                f"{instruments.tokenizer.name}, found {tuple(reconstruction.images.shape)}"
            )
        as_file = reconstruction._replace(images=round_to_8_bit(reconstruction.images))
        lengths.append(_measure_length(as_file, batch, references, instruments))
    found = tuple(length.length for length in lengths[1:])
    if found != tuple(instruments.tokenizer.lengths):
        raise DataError(
            f"expected reconstructions at lengths {instruments.tokenizer.lengths} from "
            f"{instruments.tokenizer.name}, found {found}"
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
    shown: Reconstruction, batch: SweepBatch, references: Sequence[object], instruments: Instruments
) -> _Length:
    columns = {"bits": shown.bits.float().cpu().numpy()}
    for task, reference in zip(instruments.tasks, references, strict=True):
        columns.update(task.score(shown.images, reference, batch))
    features = {
        extractor.name: extractor.features(shown.images).float().cpu().numpy() for extractor in instruments.extractors
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
