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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alit.data.imageset import ImageSet
from alit.data.listing import chosen_indices
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

    def at_most(self, limit: int) -> "TrainingImages":
        """Return at most `limit` of the images, spread evenly."""
        return self._replace(rows=self.rows[chosen_indices(len(self.rows), limit)])

    def digest(self, *inputs: object) -> str:
        """Return a digest of which images these are, and of anything else."""
        manifest = self.images.manifest.iloc[self.rows][["image_id", "sha256"]].to_csv(index=False)
        text = json.dumps([self.images.name, self.images.image_size, manifest, *inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return how many and which images these are."""
        return {"images": len(self.rows), "manifest_sha256": self.digest()}


class TrainingReference(NamedTuple):
    """What a sweep needs of the training images."""

    features: Mapping[str, Tensor]  # extractor -> (n, f) unit vectors, on the device of the sweep
    code_model: CodeModel | None  # None where the tokenizer's code is no ids, or it is not asked for
    record: dict[str, Any]  # where both come from; part of the sweep's record
    has_code_lengths: bool  # whether entropy-coded bits are asked for, of whatever tokenizer
    folders: tuple[Path, ...]  # of finished pieces, to be removed when the sweep is done


def choose_training_images(training: ImageSet, swept: Sequence[ImageSet]) -> TrainingImages:
    """Return the training images that are not swept: such a one would be its own neighbor.

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
            "add training images, or set sweep.training_images and sweep.code_model_images: 0"
        )
    return TrainingImages(training, others, tuple(training.manifest["image_id"].astype(str)[same]))


def measure_training_images(
    chosen: TrainingImages,
    tokenizer: Tokenizer,
    identity: str,
    extractors: Sequence[FeatureExtractor],
    *,
    distance_images: int,
    code_model_images: int,
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
        distance_images: of which features are taken at most, and to which distances are; 0: none.
        code_model_images: whose ids are counted at most; 0: none.
        piece_size: images per resumable piece.
        batch_size: images at once.
        scratch: folder of resume state, which all processes see.
        fabric: the processes that share the work.
    """
    work = _PieceWork(tokenizer, extractors, piece_size, batch_size, fabric)
    folders: list[Path] = []
    features: dict[str, Tensor] = {}
    model, codebook_size = None, codebook_size_of(tokenizer)
    record: dict[str, Any] = {"dataset": chosen.images.name, "of": len(chosen.images)}
    record["left_out_because_swept"] = list(chosen.left_out)
    if extractors and distance_images:
        near = chosen.at_most(distance_images)
        key = near.digest([dict(each.record) for each in extractors], piece_size, batch_size)
        folders.append(scratch / f"training-features-{key[:16]}")
        features = work.features(near, folders[-1])
        record["distances"] = {**near.describe(), "neighbors": NEIGHBORS, "features_sha256": _hashes(features)}
    if codebook_size is not None and code_model_images:
        coded = chosen.at_most(code_model_images)
        key = coded.digest(tokenizer.name, list(tokenizer.lengths), identity, piece_size, batch_size)
        folders.append(scratch / f"training-ids-{key[:16]}")
        model = work.code_model(coded, folders[-1], codebook_size)
        record["code_model"] = {**coded.describe(), "sha256": model.sha256}
    units = {name: functional.normalize(each.to(fabric.device), dim=1) for name, each in features.items()}
    return TrainingReference(units, model, record, code_model_images > 0, tuple(folders))


class _PieceWork:
    """What is computed of training images, piece by piece, in all processes."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        extractors: Sequence[FeatureExtractor],
        piece_size: int,
        batch_size: int,
        fabric: "Fabric",
    ) -> None:
        self._tokenizer, self._extractors, self._fabric = tokenizer, extractors, fabric
        self._piece_size, self._batch_size = piece_size, batch_size

    def features(self, chosen: TrainingImages, folder: Path) -> dict[str, Tensor]:
        """Return the features (n, f) of images by extractor."""

        def of_batch(images: Tensor) -> dict[str, Tensor]:
            return {each.name: each.features(images).float() for each in self._extractors}

        store, pieces = self._fill(chosen, folder, of_batch, "features of training images")
        parts = [store.read(piece) for piece in range(pieces)]
        return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}

    def code_model(self, chosen: TrainingImages, folder: Path, codebook_size: int) -> CodeModel:
        """Return the model of the ids of images."""

        def of_batch(images: Tensor) -> dict[str, Tensor]:
            return {str(length): ids.int() for length, ids in ids_of(self._tokenizer, images)}

        store, pieces = self._fill(chosen, folder, of_batch, "ids of training images")
        counts: dict[int, np.ndarray] = {}
        for piece in range(pieces):
            for length, ids in store.read(piece).items():
                counts[int(length)] = counts.get(int(length), 0) + count_ids(ids, codebook_size)
        return CodeModel(counts)

    def _fill(
        self,
        chosen: TrainingImages,
        folder: Path,
        of_batch: Callable[[Tensor], dict[str, Tensor]],
        description: str,
    ) -> tuple[PieceStore, int]:
        """Keep what is computed of batches of images (b, 3, h, w); return the store and its number of pieces."""
        pieces = np.split(chosen.rows, range(self._piece_size, len(chosen.rows), self._piece_size))

        @torch.no_grad()
        def work(piece: int) -> dict[str, np.ndarray]:
            rows = pieces[piece]
            batches = np.split(rows, range(self._batch_size, len(rows), self._batch_size))
            found = [of_batch(chosen.images.images(each).to(self._fabric.device)) for each in batches]
            return {name: torch.cat([part[name] for part in found]).cpu().numpy() for name in found[0]}

        store = PieceStore(folder)
        store.fill(self._fabric, [len(piece) for piece in pieces], work, description)
        return store, len(pieces)


def training_distance(features: Tensor, reference: Tensor) -> np.ndarray:
    """Return the mean cosine distance (b,), 0 to 2, of features (b, f) from the `NEIGHBORS` nearest of unit (n, f)."""
    units = functional.normalize(features.float(), dim=1)
    nearest = reference[(units @ reference.T).topk(NEIGHBORS, dim=1).indices]
    # Half the squared distance of unit vectors is 1 minus their cosine, and loses no digits where that is nearly 1.
    return ((nearest - units[:, None]).square().sum(dim=2) / 2).mean(dim=1).cpu().numpy()


def _hashes(features: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(each.numpy().tobytes()).hexdigest() for name, each in features.items()}
