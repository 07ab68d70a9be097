"""Predicting an image's L1 at every length from one iteration, so that it is encoded once, at a predicted length.

A ridge regression, in closed form, on what the first iteration knows: how much detail the image has at each scale, the
mean and spread of its image tokens before and after that iteration, and the codes of its first latents. No decoder
runs. `LengthPredictor` holds the regression together with the losses of the images that it was fitted on, and what
regressions without the fold that an image is in predict of it: `alit.tokenizer.promise` turns both into the margin for
any threshold and confidence. It belongs to one tokenizer's weights and travels with its checkpoint as the folder
`length_predictor/`. Not in the paper, whose criteria all try one length after another.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from pydantic import NonNegativeInt, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from alit.errors import CheckpointError, ConfigError, NotMeasurable
from alit.files import read_json
from alit.models.base import BaseTokens
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE, check_weights, read_safetensors, weights_digest
from alit.settings import Settings, parse_settings
from alit.tokenizer.encoding import Encoded, Networks, roll_out
from alit.tokenizer.promise import Losses, calibrated_margin, choose_lengths

FOLDER = "length_predictor"  # in a checkpoint
PENALTIES = tuple(10.0**power for power in range(-1, 6))  # of the ridge regression; cross-validation chooses
FOLDS = 10  # an image's loss is predicted by a regression that was fitted on the other folds
SMALLEST = 1e-4  # of a loss or a difference whose logarithm is taken
RECORDED = tuple(step / 100 for step in range(2, 31))  # thresholds whose margins a sweep's record holds


@dataclass(frozen=True)
class PredictedLoss:
    """The smallest length at which the predicted L1 keeps a promise; no length is tried, and no decoder runs.

    Needs a checkpoint with a length predictor. What is guaranteed, and what not: `alit.tokenizer.promise`.

    Attributes:
        l1: the promise: a mean absolute error in [0, 1] below this.
        confidence: least share, of the images whose L1 at the longest length is below `l1`, that is to keep it.
    """

    l1: float
    confidence: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.l1 <= 1:
            raise ConfigError(f"PredictedLoss expects l1 above 0 and at most 1, found {self.l1:g}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"PredictedLoss expects a confidence between 0 and 1, found {self.confidence:g}")


class LengthPredictorConfig(Settings):
    """What a length predictor is fitted and calibrated on."""

    images: NonNegativeInt  # training images, at most; 0 fits none
    batch_size: PositiveInt  # images measured at once


class PredictorRecord(Settings):
    """What a length predictor was made for and from."""

    tokenizer: str  # fingerprint of the tokenizer whose losses it predicts
    lengths: tuple[PositiveInt, ...]
    data: str  # the training images
    seed: int  # of the folds
    fitted: PositiveInt  # images
    calibrated: PositiveInt  # images
    penalty: float  # of the ridge regression
    folds: int | None = None  # None: images to fit on and to calibrate on were others, as in earlier files
    moved: int = 0  # pixels by which the images were moved (`moved_views`)


@dataclass(frozen=True)
class LengthPredictor:
    """A regression from what the first iteration knows to the L1 at every length, and its calibration.

    Attributes:
        record: what it was made for and from.
        tensors: float32: `mean`, `scale` (f,) of the features, `weight` (f, l), `bias` (l,) of the regression of the
            logarithm of L1; `predicted` and `losses` (n, l) of the calibration images, each predicted by a regression
            that was not fitted on it.
    """

    record: PredictorRecord
    tensors: dict[str, Tensor]

    def predict(self, known: Tensor) -> Tensor:
        """Return predicted L1 (b, l), float32 in [0, 1], that never rise with the length, from features (b, f)."""
        mean, scale, weight, bias = (
            self.tensors[name].to(known.device) for name in ("mean", "scale", "weight", "bias")
        )
        return _losses(((known - mean) / scale) @ weight + bias)

    def margin(self, promise: PredictedLoss) -> float:
        """Return the margin that keeps a promise.

        Raises:
            ConfigError: too few calibration images can keep it.
        """
        predicted, losses = (self.tensors[name].numpy() for name in ("predicted", "losses"))
        return calibrated_margin(predicted, losses, promise.l1, promise.confidence)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the record and all numbers."""
        return weights_digest(self.record.model_dump_json(), self.tensors)

    def describe(self, confidence: float = 0.9) -> dict[str, Any]:
        """Return a record for a sweep: where it comes from, its digest, and margins where there is one."""
        margins: list[list[float]] = []
        for threshold in RECORDED:
            try:
                margin = self.margin(PredictedLoss(threshold, confidence))
            except ConfigError:  # too few images can keep it
                continue
            margins.append([threshold, max(margin, -1.0)])  # no L1 is further from another; JSON has no infinity
        record = self.record.model_dump(mode="json")
        return {**record, "digest": self.digest, "confidence": confidence, "margins": margins}

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json` into `folder`, which need not be there."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, folder / WEIGHTS_FILE, {"format": "pt"})
        content = json.dumps(self.record.model_dump(mode="json"), indent=2)
        (folder / CONFIG_FILE).write_text(content + "\n", encoding="utf-8")


def load_length_predictor(folder: Path) -> LengthPredictor:
    """Read what `LengthPredictor.save` wrote.

    Raises:
        CheckpointError: a file is missing or damaged, or the two do not fit each other.
        ConfigError: config.json has an unknown, missing or impossible setting.
    """
    try:
        content = read_json(folder / CONFIG_FILE, CheckpointError)
        tensors = read_safetensors(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"expected a length predictor in {folder}: {error}; remove the folder, or put it back whole"
        ) from error
    record = parse_settings(PredictorRecord, content, source=str(folder / CONFIG_FILE))
    features, lengths = tensors.get("mean", torch.empty(0)).numel(), len(record.lengths)
    shapes = {"mean": (features,), "scale": (features,), "weight": (features, lengths), "bias": (lengths,)}
    shapes |= dict.fromkeys(("predicted", "losses"), (record.calibrated, lengths))
    try:
        expected = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    except (RuntimeError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{folder}: no calibration can have {record.calibrated} images") from error
    check_weights(expected, tensors, str(folder))
    return LengthPredictor(record, tensors)


def find_length_predictor(folder: Path) -> LengthPredictor | None:
    """Read a length predictor; None where the folder holds neither its settings nor its weights.

    Raises:
        CheckpointError: one of the two is missing, or damaged.
    """
    there = any((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE))
    return load_length_predictor(folder) if there else None


class Known(NamedTuple):
    """What one iteration knows of a batch of b images."""

    features: Tensor  # (b, f) float32
    sequence: Tensor  # (b, 1 + n + s, d), the encoder's tokens, to go on from
    base_features: Tensor  # (b, n, z), of the base tokenizer


def first_iteration(networks: Networks, images: Tensor) -> Known:
    """Run one iteration on images (b, 3, h, w) in [0, 1]; return what the regression reads, and where to go on."""
    base = networks.base.encode(images)
    encoder = networks.distillation.encoder
    sequence = encoder.iterate(encoder.start(images, base.features), 1)
    image_tokens = sequence[:, 1 : 1 + networks.distillation.config.image_tokens]
    known = _features(networks, images, base, image_tokens, encoder.latents(sequence, 1))
    return Known(known, sequence, base.features)


def _features(networks: Networks, images: Tensor, base: BaseTokens, image_tokens: Tensor, latents: Tensor) -> Tensor:
    """Return what the regression reads (b, f) of images, their base tokens, and what the first iteration made."""
    codes = networks.distillation.raw_codes(latents, base.features)
    parts = [detail(images), *_moments(base.features), *_moments(image_tokens), rearrange(codes, "b k z -> b (k z)")]
    return torch.cat([part.float() for part in parts], dim=1)


def _moments(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation (b, d) of tokens (b, n, d)."""
    return tokens.mean(dim=1), tokens.std(dim=1, correction=0)


def detail(images: Tensor) -> Tensor:
    """Return how far pixels lie from the mean of their block of 2, 4, ... pixels a side, and from their neighbors.

    Logarithms (b, f) of mean absolute differences, and their squares: of white images, too.
    """
    sizes = [2**power for power in range(1, 12) if images.shape[-1] % 2**power == 0]
    differences = [images.diff(dim=dim) for dim in (-1, -2)]
    known = torch.stack(
        [_from_block_means(images, size) for size in sizes]
        + [reduce(each.abs(), "b c h w -> b", "mean") for each in differences],
        dim=1,
    )
    logarithms = known.clamp_min(SMALLEST).log()
    return torch.cat([logarithms, logarithms.square()], dim=1)


def _from_block_means(images: Tensor, size: int) -> Tensor:
    """Return the mean absolute difference (b,) of pixels from the mean of their block of `size` pixels a side."""
    blocks = rearrange(images, "b c (h y) (w x) -> b c h y w x", y=size, x=size)
    means = rearrange(F.avg_pool2d(images, size), "b c h w -> b c h 1 w 1")
    return (blocks - means).abs_().flatten(1).mean(dim=1)


def encode_predicted(
    networks: Networks, images: Tensor, predictor: LengthPredictor, promise: PredictedLoss, margin: float
) -> list[Encoded]:
    """Encode each image once, at its predicted length; images of one length go on together.

    An image whose predicted L1 is too high at every length gets the longest and is marked unsatisfied.
    """
    known = first_iteration(networks, images)
    predicted = predictor.predict(known.features).cpu().numpy()
    chosen = choose_lengths(predicted, promise.l1, margin)
    encoded: list[Encoded | None] = [None] * len(images)
    for position in np.unique(chosen.positions).tolist():
        rows = np.flatnonzero(chosen.positions == position)
        reached = _go_on(networks, known.sequence[rows], known.base_features[rows], position + 1)
        for row, values in zip(rows, reached, strict=True):
            encoded[row] = Encoded(values, bool(chosen.satisfied[row]))
    return [tokens for tokens in encoded if tokens is not None]


def _go_on(networks: Networks, sequence: Tensor, base_features: Tensor, last: int) -> Tensor:
    """Return what a token file keeps of images at the iteration `last`, from their tokens after the first."""
    encoder = networks.distillation.encoder
    for iteration in range(2, last):
        sequence = encoder.iterate(sequence, iteration)
    if last > 1:
        sequence = encoder.iterate(sequence, last, encoder.latent_rows)
    read = networks.distillation.read(encoder.latents(sequence, last), base_features)
    return read.codes if read.ids is None else read.ids


class Examples(NamedTuple):
    """What is known of n images after one iteration, and their L1 at every length."""

    features: Losses  # (n, f)
    losses: Losses  # (n, l)


@torch.no_grad()
def measure_examples(networks: Networks, images: Tensor) -> Examples:
    """Return features and losses of images (b, 3, h, w) in [0, 1]."""
    features, losses = torch.empty(0), []
    one_iteration = networks.distillation.config.iterations == 1  # which is the last, too
    for step in roll_out(networks, images, image_tokens=one_iteration):
        assert step.reconstruction is not None
        losses.append(reduce((step.reconstruction.clamp(0, 1) - images).abs(), "b c h w -> b", "mean"))
        if step.iteration == 1:
            assert step.image_tokens is not None
            features = _features(networks, images, step.base, step.image_tokens, step.latents)
    return Examples(features.cpu().numpy(), torch.stack(losses, dim=1).float().cpu().numpy())


def moved_views(images: Tensor, pixels: int, rows: Sequence[int]) -> Tensor:
    """Return images (b, 3, h, w) moved by `pixels` along both axes, their borders mirrored.

    By half a patch, they are views of training images that no training has shown: the tokenizer rebuilds what it was
    trained on better than what is new, and a predictor that is fitted on that promises too much for new images
    (docs/predicted-lengths.md).

    Args:
        images: any.
        pixels: less than a side.
        rows: (b,) numbers of the images in their set, of which the direction follows, one of four.
    """
    size, padded = images.shape[-1], F.pad(images, (pixels,) * 4, mode="reflect")
    places = [(2 * pixels * (row % 2), 2 * pixels * (row // 2 % 2)) for row in rows]
    views = [image[:, top : top + size, left : left + size] for image, (top, left) in zip(padded, places, strict=True)]
    return torch.stack(views) if views else images


def fit_length_predictor(
    examples: Examples, *, tokenizer: str, lengths: Sequence[int], data: str, seed: int, moved: int = 0
) -> LengthPredictor:
    """Fit a predictor on all examples, and keep for each of them what a regression without its fold predicts.

    Args:
        examples: of training images, in any order.
        tokenizer: the fingerprint of the tokenizer that they were measured with.
        lengths: its lengths.
        data: what the images are, in words.
        seed: of the folds.
        moved: pixels by which the images were moved.

    Raises:
        NotMeasurable: there are fewer images than folds.
    """
    count = len(examples.losses)
    if count < FOLDS:
        raise NotMeasurable(f"{count} images are too few to fit and to calibrate a prediction of lengths")
    known, targets = examples.features.astype(np.float64), _targets(examples.losses)
    held_out = _predict_folds(known, targets, seed)
    best = int(np.square(held_out - targets).sum(axis=(1, 2)).argmin())
    fitted = _ridge(known, targets, PENALTIES[best : best + 1])
    regression = fitted._replace(weight=fitted.weight[0])._asdict()
    record = PredictorRecord(
        tokenizer=tokenizer,
        lengths=tuple(lengths),
        data=data,
        seed=seed,
        fitted=count,
        calibrated=count,
        penalty=PENALTIES[best],
        folds=FOLDS,
        moved=moved,
    )
    calibration = {"predicted": _losses(torch.from_numpy(held_out[best])), "losses": torch.from_numpy(examples.losses)}
    tensors = {name: torch.from_numpy(value) for name, value in regression.items()} | calibration
    return LengthPredictor(record, {name: tensor.float() for name, tensor in tensors.items()})


def _targets(losses: Losses) -> Losses:
    """Return what the regression predicts of losses (n, l): logarithms, as errors are a share of the loss."""
    return np.log(np.maximum(losses.astype(np.float64), SMALLEST))


def _losses(logarithms: Tensor) -> Tensor:
    """Return losses (n, l) in [0, 1] that never rise with the length, of what the regression predicts."""
    return logarithms.exp().clamp(0, 1).cummin(dim=1).values


class Ridge(NamedTuple):
    """Ridge regressions of l targets on standardized features (n, f), one for each penalty; as a predictor has one."""

    mean: Losses  # (f,)
    scale: Losses  # (f,)
    weight: Losses  # (penalties, f, l)
    bias: Losses  # (l,)


def _ridge(features: Losses, targets: Losses, penalties: Sequence[float]) -> Ridge:
    """Return the ridge regressions of targets (n, l) on features (n, f), in closed form."""
    mean, bias = features.mean(axis=0), targets.mean(axis=0)
    scale = np.maximum(features.std(axis=0), 1e-6)
    standardized = (features - mean) / scale
    values, vectors = np.linalg.eigh(standardized.T @ standardized)  # one decomposition for all penalties
    projected = vectors.T @ (standardized.T @ (targets - bias))
    shrunk = [projected / (np.maximum(values, 0) + penalty)[:, None] for penalty in penalties]
    return Ridge(mean, scale, vectors @ np.stack(shrunk), bias)


def _predict_folds(features: Losses, targets: Losses, seed: int) -> Losses:
    """Return what ridge regressions on the other folds predict of each image: (penalties, n, l)."""
    folds = np.random.default_rng(seed).permutation(len(features)) % FOLDS
    predicted = np.empty((len(PENALTIES), *targets.shape))
    for fold in range(FOLDS):
        held = folds == fold
        fitted = _ridge(features[~held], targets[~held], PENALTIES)
        predicted[:, held] = (features[held] - fitted.mean) / fitted.scale @ fitted.weight + fitted.bias
    return predicted
