"""The sweep: measure every image at every length in one pass over the image sets, by chunks that a killed run keeps."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.errors import DataError
from alit.models.weights import weights_sha256
from alit.settings import Settings
from alit.sweep.chunks import Chunk, SweepModels, measure_chunk
from alit.sweep.overlap import training_overlap
from alit.sweep.schema import column_of
from alit.sweep.store import CONFIG_FILE, ChunkStore
from alit.sweep.training_reference import choose_training_images, measure_training_images
from alit.tasks.protocol import ROUNDING, FeatureExtractor, Task
from alit.tokenizer.protocol import Tokenizer, behavior_of, options_of, require_protocol
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
