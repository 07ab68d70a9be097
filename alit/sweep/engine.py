"""The sweep: measure every image at every length in one pass over the image sets, by chunks that a killed run keeps."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.models.weights import weights_sha256
from alit.settings import Settings
from alit.sweep.overlap import training_overlap
from alit.sweep.schema import CODECS, ENTROPY_BITS, as_table, column_of, validate_table
from alit.sweep.store import CONFIG_FILE, ChunkStore
from alit.sweep.training_reference import (
    TrainingReference,
    choose_training_images,
    measure_training_images,
    training_distance,
)
from alit.tasks.protocol import ROUNDING, FeatureExtractor, SweepBatch, Task, round_to_8_bit
from alit.tokenizer.adapters import compress
from alit.tokenizer.protocol import (
    Reconstruction,
    Tokenizer,
    behavior_of,
    checked_reconstructions,
    options_of,
    require_protocol,
    token_counts,
)
from alit.training.engine.processes import check_all, fail_together, share_pieces

if TYPE_CHECKING:  # Fabric loads torchmetrics, and with it transformers and torchvision
    from lightning_fabric import Fabric


class SweepConfig(Settings):
    """Chunk and batch size of a sweep, and how much it knows of the training images."""

    chunk_size: PositiveInt  # images per resumable chunk
    tokenizer_batch: PositiveInt  # images at once
    # Training images at most: those that distances are to, and those that models of ids are fitted on; 0: neither.
    training_images: NonNegativeInt = 0
    code_model_images: NonNegativeInt = 0

    @property
    def reads_training_images(self) -> bool:
        """Whether the sweep is to know any training images."""
        return self.training_images > 0 or self.code_model_images > 0


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


def sweep(
    tokenizer: Tokenizer,
    sets: Iterable[ImageSet],
    tasks: Iterable[Task],
    extractors: Iterable[FeatureExtractor],
    *,
    config: SweepConfig,
    scratch: Path,
    out: Path,
    fabric: "Fabric | None" = None,
    settings: Mapping[str, Any] | None = None,
    training: ImageSet | None = None,
) -> None:
    """Measure every image of every set at every length and write `table.parquet`, features and `config.json`.

    Reconstructions are rounded to 8 bit before they are scored. Peak memory depends on the chunk, not on the number of
    images. Finished chunks are kept under `scratch` until the whole is written; only a sweep of the same images,
    weights and settings continues from them, in as many processes as it likes. Each process takes whole chunks, so that
    the result does not depend on their number.

    Args:
        tokenizer: on the device of `fabric`.
        sets: image sets of the tokenizer's image size, of different names.
        tasks: see `alit.tasks.registry`; on the same device.
        extractors: for the feature arrays; on the same device.
        config: chunk and batch size.
        scratch: folder of resume state, which all processes see.
        out: folder of the result, replaced whole.
        fabric: the processes that share the work; by default this one alone, on the CPU.
        settings: anything else that the numbers depend on or that `config.json` should state (JSON values).
        training: the tokenizer's training images. With `config.training_images` of them the table has training
            distances; with `config.code_model_images` entropy-coded bits, and the result a code model.

    Raises:
        DataError: no images, repeated names or ids, images of another size, or an undeclared column.
    """
    fabric = fabric or _this_process()
    models = SweepModels(tokenizer, tuple(tasks), tuple(extractors), fabric.device)
    plan = _plan(sets, models, config, settings or {}, scratch, fabric, training)
    _measure(plan, config, scratch, out, fabric)
    if fabric.is_global_zero and plan.models.reference is not None:
        for folder in plan.models.reference.folders:
            shutil.rmtree(folder)


def _this_process() -> "Fabric":
    """Return this process alone, on the CPU."""
    from alit.training.engine.fabric import build_fabric

    return build_fabric("cpu", 1)


class _Plan(NamedTuple):
    """What is to be swept, checked."""

    sets: list[ImageSet]  # in the table's order
    models: SweepModels
    record: Any  # as it will be read back
    behavior: str  # of a tokenizer without weights: one that has been changed begins anew


def _plan(
    sets: Iterable[ImageSet],
    models: SweepModels,
    config: SweepConfig,
    settings: Mapping[str, Any],
    scratch: Path,
    fabric: "Fabric",
    training: ImageSet | None,
) -> _Plan:
    """Check what is to be swept, and measure the training images that it is compared with, if any."""
    ordered = sorted(sets, key=lambda images: images.name)
    _check(ordered, models)
    with fail_together(fabric):
        own = _behavior(ordered, models)
    behavior = fabric.broadcast(own)
    record = _record(ordered, models, config, settings)
    if behavior:
        record["tokenizer"]["behavior_sha256"] = behavior
    if training is not None and config.reads_training_images:
        weights = record["tokenizer"]["weights_sha256"]
        reference = measure_training_images(
            choose_training_images(training, ordered),
            models.tokenizer,
            f"{weights or ''}{behavior}",
            models.extractors,
            distance_images=config.training_images,
            code_model_images=config.code_model_images,
            piece_size=config.chunk_size,
            batch_size=config.tokenizer_batch,
            scratch=scratch,
            fabric=fabric,
        )
        models = models._replace(reference=reference)
        record["training_images"] = reference.record
    return _Plan(ordered, models, json.loads(json.dumps(record)), behavior)


def _measure(plan: _Plan, config: SweepConfig, scratch: Path, out: Path, fabric: "Fabric") -> None:
    """Measure the chunks that are not finished yet in all processes, and write the whole in the first."""
    digest = hashlib.sha256((json.dumps(plan.record, sort_keys=True) + plan.behavior).encode()).hexdigest()
    store = ChunkStore(scratch / f"sweep-{digest[:16]}")
    chunks = _chunks(plan.sets, config.chunk_size)
    finished = store.finished()
    pending = [index for index in range(len(chunks)) if index not in finished]
    total, left = sum(map(len, chunks)), sum(len(chunks[index]) for index in pending)

    def work(index: int) -> None:
        store.write(index, *measure_chunk(chunks[index], plan.models, config.tokenizer_batch))

    silent = not fabric.is_global_zero
    with tqdm(total=total, initial=total - left, desc="sweep", unit="image", disable=silent) as bar:
        for index in share_pieces(fabric, pending, work):
            bar.update(len(chunks[index]))
    if fabric.is_global_zero:
        extractors = [extractor.name for extractor in plan.models.extractors]
        store.assemble(len(chunks), extractors, plan.record, out, lambda folder: _keep_code_model(plan, folder))
    check_all(fabric)


def _keep_code_model(plan: _Plan, folder: Path) -> None:
    """Write the model that entropy-coded bits are by, where there is one, with a card of what it was fitted on."""
    reference = plan.models.reference
    if reference is not None and reference.code_model is not None:
        card = {"tokenizer": plan.record["tokenizer"], "training_images": plan.record["training_images"]}
        reference.code_model.save(folder, card)


@torch.no_grad()
def _behavior(ordered: list[ImageSet], models: SweepModels) -> str:
    """Check in each process that the tokenizer draws nothing; return what tells its code from another's."""
    images = next(images for images in ordered if len(images))
    return behavior_of(models.tokenizer, images.images(range(min(2, len(images)))).to(models.device))


def _chunks(sets: list[ImageSet], size: int) -> list[Chunk]:
    return [
        Chunk(images, start, min(start + size, len(images))) for images in sets for start in range(0, len(images), size)
    ]


def _check(sets: list[ImageSet], models: SweepModels) -> None:
    require_protocol(models.tokenizer, "the tokenizer")
    names = [images.name for images in sets]
    if not sum(len(images) for images in sets):
        raise DataError("expected image sets to evaluate, found no image; add a set with role: evaluate")
    if len(set(names)) < len(names):
        raise DataError(f"expected image sets of different names, found {', '.join(names)}; rename one")
    for images in sets:
        if images.image_size != models.tokenizer.image_size and not options_of(models.tokenizer).resize_images:
            raise DataError(
                f"expected images of {models.tokenizer.image_size} px for {models.tokenizer.name}, "
                f"found {images.image_size} px in {images.name}; make the set at the tokenizer's size, or say "
                "resize_images: true in its options"
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
    sets: list[ImageSet], models: SweepModels, config: SweepConfig, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the provenance of the numbers, which becomes config.json; its digest names the resume state."""
    tokenizer = models.tokenizer
    predictor = getattr(tokenizer, "length_predictor", None)  # beyond the protocol
    judges = [dict(task.record) for task in models.tasks] + [dict(each.record) for each in models.extractors]
    overlap = training_overlap({images.name: list(images.manifest["image_id"]) for images in sets}, judges)
    return {
        "tokenizer": {
            "name": tokenizer.name,
            "image_size": tokenizer.image_size,
            "lengths": list(tokenizer.lengths),
            "base_tokens": tokenizer.base_tokens,
            "weights_sha256": weights_sha256(tokenizer) if isinstance(tokenizer, nn.Module) else None,
            "length_predictor": None if predictor is None else predictor.describe(),
            **options_of(tokenizer).model_dump(mode="json"),
        },
        "images": [
            {
                "dataset": images.name,
                "images": len(images),
                "image_size": images.image_size,
                "view": "short side resized (bicubic, antialiased), center crop",
                "class_names": list(images.class_names),
                "manifest_sha256": _manifest_sha256(images.manifest),
                "seen_in_training": {each.judge: each.seen for each in overlap if each.dataset == images.name},
            }
            for images in sets
        ],
        "reconstructions": ROUNDING,
        # Nothing is drawn, halting is off in the evaluation phase; or a decoder draws with these seeds.
        "seed": "the 8-bit pixels of each image" if options_of(tokenizer).draws else None,
        "tasks": [dict(task.record) for task in models.tasks],
        "extractors": [dict(extractor.record) for extractor in models.extractors],
        "sweep": config.model_dump(),
        **settings,
    }


def _manifest_sha256(manifest: pd.DataFrame) -> str:
    return hashlib.sha256(manifest.to_csv(index=False).encode()).hexdigest()


class SweepJob(NamedTuple):
    """A tokenizer to sweep."""

    load: Callable[[], Tokenizer]  # onto the device of the sweep's fabric; one at a time is in memory
    settings: Mapping[str, Any]  # anything else for config.json, as in `sweep`
    sets: Sequence[ImageSet] | None = None  # in place of those of the other jobs


def sweep_many(
    jobs: Mapping[str, SweepJob],
    sets: Iterable[ImageSet],
    tasks: Iterable[Task],
    extractors: Iterable[FeatureExtractor],
    *,
    config: SweepConfig,
    scratch: Path,
    fabric: "Fabric | None" = None,
    training: ImageSet | None = None,
) -> Path:
    """Sweep one tokenizer after another and return the folder that holds their sweeps, `<folder>/<name>`.

    A finished sweep stays there until the caller moves it: a run that was stopped repeats only the unfinished ones, and
    those of other weights, images or settings.

    Args:
        jobs: tokenizers by the name of their folder.
        sets: as for `sweep`, of all jobs that name no others; and so are tasks, extractors, config, fabric, training.
        scratch: a folder for this caller alone, who removes it; sweeps of names that are not in `jobs` are removed.
    """
    fabric = fabric or _this_process()
    sets, tasks, extractors = list(sets), list(tasks), list(extractors)
    folder = scratch / "finished"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir() if fabric.is_global_zero else ():
        if other.name not in jobs:
            shutil.rmtree(other)
    for name, job in jobs.items():
        if fabric.is_global_zero:
            print(f"sweep of {name}", flush=True)
        models = SweepModels(job.load(), tuple(tasks), tuple(extractors), fabric.device)
        swept = sets if job.sets is None else job.sets
        plan = _plan(swept, models, config, job.settings, scratch, fabric, training)
        finished = folder / name / CONFIG_FILE  # by a run that was stopped later
        if not finished.is_file() or json.loads(finished.read_text()) != plan.record:
            _measure(plan, config, scratch, folder / name, fabric)
    return folder


def move_whole(folder: Path, out: Path) -> None:
    """Move `folder` to `out`, perhaps on another disk, and replace what is there."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
