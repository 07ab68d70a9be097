"""What a sweep knows of the training images: their features, and a model of their token ids.

The distance of an image from the training images says how familiar it is to a tokenizer, measured and not assumed: the
mean cosine distance of its features from those of the nearest training images, as detection of images outside the
training distribution by nearest neighbors has it (Sun et al. 2022, who take the Euclidean distance of the k-th nearest
among unit vectors; a mean of five is less noisy, and neither changes the order much). The model of ids says what an
image's code costs when it is entropy-coded.

Both are computed once, before the sweep, piece by piece: finished pieces are kept until the sweep is done.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alit.data.imageset import ImageSet, chosen_indices
from alit.errors import DataError
from alit.tasks.protocol import FeatureExtractor
from alit.tokenizer.code_model import CodeModel, count_ids
from alit.tokenizer.protocol import Tokenizer, codebook_size_of, ids_of
from alit.training.engine.processes import PieceStore

if TYPE_CHECKING:  # Fabric loads torchmetrics, and with it transformers and torchvision
    from lightning_fabric import Fabric

NEIGHBORS = 5  # nearest training images whose mean distance is an image's


class TrainingImages(NamedTuple):
    """The training images that a sweep compares its own with."""

    images: ImageSet
    rows: np.ndarray  # (n,) of the set
    left_out: tuple[str, ...]  # ids of training images that are swept as well, and are therefore not among `rows`

    def digest(self, *inputs: object) -> str:
        """Return a digest of which images these are, and of anything else."""
        manifest = self.images.manifest.iloc[self.rows][["image_id", "sha256"]].to_csv(index=False)
        text = json.dumps([self.images.name, self.images.image_size, manifest, *inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class TrainingReference(NamedTuple):
    """What a sweep needs of the training images."""

    features: Mapping[str, Tensor]  # extractor -> (n, f) unit vectors, on the device of the sweep
    code_model: CodeModel | None  # None where the tokenizer's code is no ids
    record: dict[str, Any]  # where both come from; part of the sweep's record
    folders: tuple[Path, ...]  # of finished pieces, to be removed when the sweep is done


def choose_training_images(training: ImageSet, swept: Sequence[ImageSet], limit: int) -> TrainingImages:
    """Return at most `limit` training images, spread evenly, and none that is swept: it would be its own neighbor.

    The same image is one of the same content (the file's sha256) or of the same id; it is left out by name.

    Raises:
        DataError: fewer than `NEIGHBORS` are left.
    """
    same = np.zeros(len(training), dtype=bool)
    for key in ("image_id", "sha256"):
        known = [str(value) for images in swept for value in images.manifest[key]]
        same |= training.manifest[key].astype(str).isin(known).to_numpy(bool)
    others = np.flatnonzero(~same)
    if len(others) < NEIGHBORS:
        raise DataError(
            f"expected at least {NEIGHBORS} images of {training.name} that are not swept, found {len(others)}; "
            "add training images, or set sweep.training_images: 0"
        )
    rows = others[chosen_indices(len(others), limit)]
    return TrainingImages(training, rows, tuple(training.manifest["image_id"].astype(str)[same]))


def measure_training_images(
    chosen: TrainingImages,
    tokenizer: Tokenizer,
    identity: str,
    extractors: Sequence[FeatureExtractor],
    *,
    piece_size: int,
    batch_size: int,
    scratch: Path,
    fabric: "Fabric",
) -> TrainingReference:
    """Compute, or take up from `scratch`, what a sweep needs of training images.

    Args:
        chosen: the images.
        tokenizer: on the device of `fabric`.
        identity: what tells its weights, or its behavior, from others.
        extractors: on the same device.
        piece_size: images per resumable piece.
        batch_size: images at once.
        scratch: folder of resume state, which all processes see.
        fabric: the processes that share the work.
    """
    pieces = np.split(chosen.rows, range(piece_size, len(chosen.rows), piece_size))

    def batches(piece: int) -> list[Tensor]:
        parts = np.split(pieces[piece], range(batch_size, len(pieces[piece]), batch_size))
        return [chosen.images.images(part).to(fabric.device) for part in parts]

    @torch.no_grad()
    def features(piece: int) -> dict[str, np.ndarray]:
        found = [{each.name: each.features(images).float().cpu() for each in extractors} for images in batches(piece)]
        return {name: torch.cat([part[name] for part in found]).numpy() for name in found[0]}

    @torch.no_grad()
    def ids(piece: int) -> dict[str, np.ndarray]:
        found = [{str(length): ids.cpu() for length, ids in ids_of(tokenizer, each)} for each in batches(piece)]
        return {length: torch.cat([part[length] for part in found]).int().numpy() for length in found[0]}

    sizes, records = [len(piece) for piece in pieces], [dict(each.record) for each in extractors]
    folder = scratch / f"training-features-{chosen.digest(records, piece_size, batch_size)[:16]}"
    known: dict[str, Tensor] = {}
    if extractors:
        store = PieceStore(folder)
        store.fill(fabric, sizes, features, "features of training images")
        known = _read_features(store, len(pieces))
    folders, size, model = [folder] if extractors else [], codebook_size_of(tokenizer), None
    if size is not None:
        key = chosen.digest(tokenizer.name, list(tokenizer.lengths), identity, piece_size, batch_size)
        folders.append(scratch / f"training-ids-{key[:16]}")
        store = PieceStore(folders[-1])
        store.fill(fabric, sizes, ids, "ids of training images")
        model = _read_code_model(store, len(pieces), size)
    units = {name: functional.normalize(each.to(fabric.device), dim=1) for name, each in known.items()}
    return TrainingReference(units, model, _record(chosen, known, model), tuple(folders))


def training_distance(features: Tensor, reference: Tensor) -> np.ndarray:
    """Return the mean cosine distance (b,), 0 to 2, of features (b, f) from the `NEIGHBORS` nearest of unit (n, f)."""
    units = functional.normalize(features.float(), dim=1)
    nearest = reference[(units @ reference.T).topk(NEIGHBORS, dim=1).indices]
    # Half the squared distance of unit vectors is 1 minus their cosine, and loses no digits where that is nearly 1.
    return ((nearest - units[:, None]).square().sum(dim=2) / 2).mean(dim=1).cpu().numpy()


def _read_features(store: PieceStore, pieces: int) -> dict[str, Tensor]:
    parts = [store.read(piece) for piece in range(pieces)]
    return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def _read_code_model(store: PieceStore, pieces: int, codebook_size: int) -> CodeModel:
    counts: dict[int, np.ndarray] = {}
    for piece in range(pieces):
        for length, ids in store.read(piece).items():
            counts[int(length)] = counts.get(int(length), 0) + count_ids(ids, codebook_size)
    return CodeModel(counts)


def _record(chosen: TrainingImages, features: Mapping[str, Tensor], model: CodeModel | None) -> dict[str, Any]:
    hashes = {name: hashlib.sha256(each.numpy().tobytes()).hexdigest() for name, each in features.items()}
    return {
        "dataset": chosen.images.name,
        "images": len(chosen.rows),
        "of": len(chosen.images),
        "manifest_sha256": chosen.digest(),
        "left_out_because_swept": list(chosen.left_out),
        "neighbors": NEIGHBORS,
        "features_sha256": hashes,
        "code_model_sha256": None if model is None else model.sha256,
    }
