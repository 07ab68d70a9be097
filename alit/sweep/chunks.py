"""What a sweep measures of a chunk of images: the rows of its table at every length, and their features."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from alit.data.imageset import ImageSet
from alit.sweep.schema import CODECS, ENTROPY_BITS, as_table, validate_table
from alit.sweep.training_reference import TrainingReference, training_distance
from alit.tasks.protocol import FeatureExtractor, SweepBatch, Task, round_to_8_bit
from alit.tokenizer.adapters import compress
from alit.tokenizer.protocol import Reconstruction, Tokenizer, checked_reconstructions, token_counts

CODEC_QUALITY = 75  # Pillow's default for JPEG


class Chunk(NamedTuple):
    """Consecutive images of one set."""

    images: ImageSet
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class SweepModels(NamedTuple):
    """The tokenizer, tasks and extractors of a sweep."""

    tokenizer: Tokenizer
    tasks: tuple[Task, ...]
    extractors: tuple[FeatureExtractor, ...]
    device: torch.device
    reference: TrainingReference | None = None  # None: nothing is known of the training images


Features = dict[str, np.ndarray]  # by extractor: (rows, f) float32


def rms_contrast(images: Tensor) -> np.ndarray:
    """Return the standard deviation (b,) over pixels of the luminance of images (b, 3, h, w), 0 to 0.5 (Peli 1990).

    Luminance is the luma of Rec. 601 on values as they are stored, in [0, 1].
    """
    luminance = torch.einsum("bchw,c->bhw", images.float().cpu(), torch.tensor([0.299, 0.587, 0.114]))
    return luminance.flatten(1).std(dim=1, correction=0).numpy()


def file_sizes(images: Tensor, codec: str) -> np.ndarray:
    """Return the sizes (b,) in bytes of images (b, 3, h, w) in [0, 1] as files: a measure of their complexity."""
    pixels = rearrange(images, "b c h w -> b h w c").mul(255).round().to(torch.uint8).cpu().numpy()
    return np.array([len(compress(image, codec, CODEC_QUALITY)) for image in pixels], dtype=np.float64)


@torch.no_grad()
def measure_chunk(chunk: Chunk, models: SweepModels, batch_size: int) -> tuple[pd.DataFrame, Features]:
    """Return the rows of the table, and their features, of a chunk at length 0 and at each length of the tokenizer.

    Raises:
        DataError: the tokenizer broke its protocol, or a score is outside its column's range.
    """
    starts = range(chunk.start, chunk.stop, batch_size)
    batches = [np.arange(start, min(start + batch_size, chunk.stop)) for start in starts]
    tables, features = zip(*(_measure_batch(chunk.images, indices, models) for indices in batches), strict=True)
    source = f"{chunk.images.name}[{chunk.start}:{chunk.stop}] by {models.tokenizer.name}"
    table = validate_table(pd.concat(tables, ignore_index=True), source)
    return table, {name: np.concatenate([part[name] for part in features]) for name in features[0]}


def _measure_batch(images: ImageSet, indices: np.ndarray, models: SweepModels) -> tuple[pd.DataFrame, Features]:
    batch = _read_batch(images, indices, models.device)
    references = [task.reference(batch) for task in models.tasks]
    nothing = torch.full((len(indices),), torch.nan)
    untouched = Reconstruction(0, nothing, batch.images, tokens=nothing)
    lengths, measured = [0], [_measure_length(untouched, batch, references, models)]
    for reconstruction in checked_reconstructions(models.tokenizer, batch.images):
        rounded = reconstruction._replace(images=round_to_8_bit(reconstruction.images))
        lengths.append(reconstruction.length)
        measured.append(_measure_length(rounded, batch, references, models))
    columns, features = zip(*measured, strict=True)
    predicted = _predicted_losses(models.tokenizer, batch.images, len(lengths))
    columns = [known | {"predicted_l1": losses} for known, losses in zip(columns, predicted, strict=True)]
    distances = _training_distances(features[0], models)
    table = _in_table_order(images, indices, batch, lengths, columns, distances)
    names = [extractor.name for extractor in models.extractors]
    return table, {name: rearrange([part[name] for part in features], "length b f -> (b length) f") for name in names}


def _predicted_losses(tokenizer: Tokenizer, images: Tensor, lengths: int) -> np.ndarray:
    """Return the L1 (lengths, b) that a tokenizer predicts for images; NaN of those untouched, or where it does not."""
    predict = getattr(tokenizer, "predicted_losses", None)  # beyond the protocol
    losses = None if predict is None else predict(images)
    if losses is None:
        return np.full((lengths, len(images)), np.nan)
    return np.concatenate([np.full((1, len(images)), np.nan), rearrange(losses.cpu().numpy(), "b length -> length b")])


def _read_batch(images: ImageSet, indices: np.ndarray, device: torch.device) -> SweepBatch:
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
    step: Reconstruction, batch: SweepBatch, references: Sequence[object], models: SweepModels
) -> tuple[dict[str, np.ndarray], Features]:
    """Return the columns (b,) and features (b, f) of the images of one length."""
    sizes = {"tokens": token_counts(step).numpy(), "bits": step.bits.float().cpu().numpy()}
    columns = {**sizes, **_entropy_bits(step, models)}
    for task, reference in zip(models.tasks, references, strict=True):
        columns.update(task.score(step.images, reference, batch))
    features = {
        extractor.name: extractor.features(step.images).float().cpu().numpy() for extractor in models.extractors
    }
    return columns, features


def _entropy_bits(step: Reconstruction, models: SweepModels) -> dict[str, np.ndarray]:
    """Return the entropy-coded sizes (b,) of a length's codes; NaN where a code is no ids, such as continuous latents.

    A code that is entropy-coded already, such as a JPEG file, has its own size.
    """
    if models.reference is None or not models.reference.has_code_lengths:
        return {}
    if getattr(models.tokenizer, "entropy_coded", False):
        return dict.fromkeys(ENTROPY_BITS, step.bits.float().cpu().numpy())
    if step.ids is None or models.reference.code_model is None:
        return dict.fromkeys(ENTROPY_BITS, np.full(len(step.images), np.nan))
    found = models.reference.code_model.bits(step.ids.cpu().numpy(), step.length)
    return dict(zip(ENTROPY_BITS, found, strict=True))


def _training_distances(untouched: Features, models: SweepModels) -> dict[str, np.ndarray]:
    """Return how far images are from the training images, (b,) for each extractor."""
    if models.reference is None:
        return {}
    return {
        f"training_distance_{name}": training_distance(
            torch.from_numpy(untouched[name]).to(models.device), models.reference.features[name]
        )
        for name in models.reference.features
    }


def _in_table_order(
    images: ImageSet,
    indices: np.ndarray,
    batch: SweepBatch,
    lengths: Sequence[int],
    columns: Sequence[Mapping[str, np.ndarray]],
    distances: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Return the rows of a batch, sorted by image, then length.

    `columns` holds the scores (b,) of each length, `distances` what is known of each image beside its set's manifest.
    """
    manifest = images.manifest.iloc[indices]
    known = np.where(batch.labels.numpy() >= 0, batch.labels.numpy(), np.nan)
    per_image = {
        "dataset": [images.name] * len(indices),
        "split": manifest["split"].astype(str).to_numpy(),
        "image_id": manifest["image_id"].astype(str).to_numpy(),
        "label": known,
        "complexity": manifest["complexity"].to_numpy(dtype=np.float64, na_value=np.nan),
        "rms_contrast": rms_contrast(batch.images),
        **{f"{codec}_bytes": file_sizes(batch.images, codec) for codec in CODECS},
    }
    per_image |= distances
    repeated = {name: np.repeat(values, len(lengths)) for name, values in per_image.items()}
    scored = {name: rearrange([part[name] for part in columns], "length b -> (b length)") for name in columns[0]}
    return as_table({**repeated, "length": np.tile(lengths, len(indices)), **scored})
