"""Probes of every feature point of a frozen tokenizer: fitted on training images, scored on evaluation images."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from alit.data.imageset import ImageSet
from alit.data.prepare import ArrayWriter
from alit.errors import DataError, require
from alit.models.distillation import TokenizerConfig
from alit.settings import Settings
from alit.studies.probe import CONTROLS, FeaturePoint
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import resume_dir
from alit.training.engine.fabric import build_fabric
from alit.training.engine.processes import PieceStore, fail_together

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


class MaeProbeConfig(Settings):
    """Training of the published probe; used by method: mae only."""

    epochs: PositiveInt
    warmup_epochs: int = Field(ge=0)
    batch_size: PositiveInt
    base_learning_rate: PositiveFloat  # of 256 images; the batch's is proportional


class ProbeConfig(Settings):
    """Linear probes of the frozen tokenizer's features (paper, section 5; docs/studies/probe.md)."""

    method: Literal["ridge", "logistic", "mae"]
    train_images: PositiveInt | None  # of the first training set, at most; null takes all
    batch_size: PositiveInt  # images through the tokenizer at once
    seeds: PositiveInt
    draw_share: float = Field(gt=0, le=1)  # of the training images, drawn again for each seed
    iterations: tuple[PositiveInt, ...] | None  # null takes every one
    tokens: tuple[Literal["image", "latents", "both"], ...]
    stages: tuple[
        Literal["encoder", "quantizer"], ...
    ]  # latents as the encoder leaves them, or as the decoder gets them
    pooling: tuple[Literal["mean", "concatenated"], ...]
    penalties: tuple[PositiveFloat, ...]  # candidates of ridge and logistic, chosen on the training part alone
    folds: int = Field(ge=2)  # of logistic's choice; ridge leaves out one image at a time
    mae: MaeProbeConfig


def feature_points(config: ProbeConfig, tokenizer: TokenizerConfig) -> list[FeaturePoint]:
    """List the points of a profile, those that would repeat another left out, and the controls after them.

    At each iteration the first s, 2s, ... of its latents are pooled to a mean. The quantizer sees latents only. What is
    put side by side are all latents of an iteration, without image tokens.
    """
    points = []
    iterations = config.iterations or range(1, tokenizer.iterations + 1)
    for stage, pooling, tokens in product(config.stages, config.pooling, config.tokens):
        if tokens != "latents" and (stage, pooling) != ("encoder", "mean"):
            continue
        for iteration in (number for number in iterations if number <= tokenizer.iterations):
            counts = (0,) if tokens == "image" else tokenizer.lengths[:iteration]
            counts = counts if pooling == "mean" else counts[-1:]
            points += [FeaturePoint("tokenizer", iteration, tokens, count, stage, pooling) for count in counts]
    return [*points, *(FeaturePoint(name) for name in CONTROLS)]


BASE_GRID = 4  # the base grid control keeps so many cells a side
PIXEL_GRID = 16


class FeatureArrays(NamedTuple):
    """Pooled features of n images, float32; everything that a `FeaturePoint` needs is a mean of these.

    Each iteration t has t blocks of s latents, the block that each earlier iteration and itself appended; block b of
    iteration t (both from 1) stands in column t (t - 1) / 2 + b - 1.
    """

    image: np.ndarray  # (n, T, d) mean of the image tokens as the encoder leaves them
    latents: np.ndarray  # (n, blocks, d) mean of a block as the encoder leaves it
    codes: np.ndarray  # (n, blocks, z) mean of a block as the decoder gets it: quantized where latents are
    base: np.ndarray  # (n, cells, z) base features, averaged over the cells of a coarse grid
    pixels: np.ndarray  # (n, values) the image averaged over a coarse grid
    colors: np.ndarray  # (n, 6) mean and standard deviation of each channel


def compute_features(
    tokenizer: AdaptiveTokenizer, images: ImageSet, rows: np.ndarray, batch_size: int, folder: Path, fabric: "Fabric"
) -> FeatureArrays:
    """Return the features of some images of a set, memory-mapped from `folder`; continues what is there.

    Args:
        tokenizer: frozen, in eval mode.
        images: the set.
        rows: (n,) numbers of the images.
        batch_size: images at once.
        folder: of these images, weights and this batch size alone; all processes see it.
        fabric: the processes that share the batches.
    """
    store = PieceStore(folder / "batches")
    batches = np.split(rows, range(batch_size, len(rows), batch_size))

    def work(number: int) -> Mapping[str, np.ndarray]:
        return _batch_features(tokenizer, images.images(batches[number]))._asdict()

    store.fill(fabric, list(map(len, batches)), work, f"features of {images.name}")
    with fail_together(fabric):
        if fabric.is_global_zero:
            _join(store, batches, folder)
    return FeatureArrays(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in FeatureArrays._fields))


def _join(store: PieceStore, batches: Sequence[np.ndarray], folder: Path) -> None:
    """Write the features of all batches as one array for each kind."""
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ArrayWriter(folder / f"{name}.npy")) for name in FeatureArrays._fields}
        for number in range(len(batches)):
            for name, values in store.read(number).items():
                writers[name].extend(values)


def gather(arrays: FeatureArrays, point: FeaturePoint, tokenizer: TokenizerConfig) -> np.ndarray:
    """Return the features (n, f) float32 of one point."""
    match point.features:
        case "constant":
            return np.zeros((len(arrays.image), 1), np.float32)
        case "colors":
            return arrays.colors
        case "pixels":
            return arrays.pixels
        case "base":
            return arrays.base.mean(axis=1)
        case "base grid":
            return rearrange(arrays.base, "n cells z -> n (cells z)")
    image = arrays.image[:, point.iteration - 1]
    if point.tokens == "image":
        return image
    first = point.iteration * (point.iteration - 1) // 2
    blocks = point.latents // tokenizer.tokens_per_iteration
    source = arrays.latents if point.stage == "encoder" else arrays.codes
    latents = source[:, first : first + blocks]
    if point.pooling == "concatenated":
        return rearrange(latents, "n blocks d -> n (blocks d)")
    mean = latents.mean(axis=1)
    if point.tokens == "latents":
        return mean
    share = point.latents / (point.latents + tokenizer.image_tokens)  # every token counts alike, as published
    return share * mean + (1 - share) * image


@torch.no_grad()
def _batch_features(tokenizer: AdaptiveTokenizer, images: Tensor) -> FeatureArrays:
    """Pool the features of images (b, 3, h, w); the latent decoder does not run."""
    images = images.to(next(tokenizer.parameters()).device)
    base_tokens, size = tokenizer.base.encode(images), tokenizer.config.tokens_per_iteration
    image_means, latent_means, code_means = [], [], []
    for step in tokenizer.distillation.iterate(images, base_tokens, tokenizer.base.codebook, decode=()):
        assert step.image_tokens is not None
        image_means.append(step.image_tokens.mean(dim=1))
        latent_means.append(reduce(step.latents, "b (blocks s) d -> b blocks d", "mean", s=size))
        code_means.append(reduce(step.codes, "b (blocks s) z -> b blocks z", "mean", s=size))
    grid = rearrange(base_tokens.features, "b (h w) z -> b z h w", h=tokenizer.config.grid)
    cells = F.adaptive_avg_pool2d(grid, min(BASE_GRID, tokenizer.config.grid))
    pixels = F.adaptive_avg_pool2d(images, min(PIXEL_GRID, tokenizer.image_size))
    colors = torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)
    pooled = (
        torch.stack(image_means, dim=1),
        torch.cat(latent_means, dim=1),
        torch.cat(code_means, dim=1),
        rearrange(cells, "b z h w -> b (h w) z"),
        rearrange(pixels, "b c h w -> b (c h w)"),
        colors,
    )
    return FeatureArrays(*(values.float().cpu().numpy() for values in pooled))


MOMENTUM, TRUST = 0.9, 1e-3  # MAE's LARS

Predict = Callable[[np.ndarray], np.ndarray]  # features (n, f) -> labels (n,)


def fit_probe(
    features: np.ndarray, labels: np.ndarray, config: ProbeConfig, seed: int, device: torch.device
) -> Predict:
    """Fit the classifier that `config.method` names to features (n, f) and int labels (n,) in 0 ... classes - 1.

    Features are standardized by the training images' mean and deviation. Ridge regresses one-hot labels in closed form
    and chooses its penalty by leaving out one image at a time; logistic regression chooses its by `config.folds` folds.
    """
    if config.method == "mae":
        return fit_mae_probe(features, labels, config.mae, seed, device)
    model = _ridge(config) if config.method == "ridge" else _logistic(config, seed)
    return model.fit(features.astype(np.float64), labels).predict


def fit_mae_probe(
    features: np.ndarray, labels: np.ndarray, config: MaeProbeConfig, seed: int, device: torch.device
) -> Predict:
    """Train the probe of MAE (He et al. 2022, table 10): batch norm without affine, LARS, cosine rate, no weight decay.

    The bias is not rescaled by LARS, as there. Features are those of one central view: MAE draws a new crop and flip
    of each image in each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.from_numpy(np.asarray(features, np.float32)).to(device), torch.from_numpy(labels).to(device)
    head = nn.Linear(inputs.shape[1], int(targets.max()) + 1)
    nn.init.trunc_normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    probe = nn.Sequential(nn.BatchNorm1d(inputs.shape[1], affine=False, eps=1e-6), head).to(device)
    optimizer = mae_optimizer(head)
    batch_size = min(config.batch_size, len(inputs))
    batches = len(inputs) // batch_size  # what is left over waits for another epoch's order
    for epoch in range(config.epochs):
        order = torch.randperm(len(inputs), generator=generator)[: batches * batch_size]
        for number, rows in enumerate(order.split(batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = mae_learning_rate(epoch + number / batches, batch_size, config)
            optimizer.zero_grad()
            nn.functional.cross_entropy(probe(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    probe.eval()
    return lambda values: _predict(probe, values, device)


def mae_optimizer(head: nn.Linear) -> torch.optim.Optimizer:
    """Return LARS for a linear layer, its rate still zero; the bias takes plain steps with momentum."""
    require("timm")
    from timm.optim.lars import Lars

    groups = [{"params": [head.weight], "always_adapt": True}, {"params": [head.bias], "always_adapt": False}]
    return Lars(groups, lr=0.0, momentum=MOMENTUM, trust_coeff=TRUST)  # type: ignore[arg-type]


def mae_learning_rate(epoch: float, batch_size: int, config: MaeProbeConfig) -> float:
    """Return the rate at a point of the training, in epochs: linear warm-up, then half a cosine to zero."""
    peak = config.base_learning_rate * batch_size / 256
    if epoch < config.warmup_epochs:
        return peak * epoch / config.warmup_epochs
    return peak * (1 + np.cos(np.pi * (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs))) / 2


@torch.no_grad()
def _predict(probe: nn.Module, values: np.ndarray, device: torch.device) -> np.ndarray:
    return probe(torch.from_numpy(np.asarray(values, np.float32)).to(device)).argmax(dim=1).cpu().numpy()


def _ridge(config: ProbeConfig) -> Any:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=config.penalties))


def _logistic(config: ProbeConfig, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))  # L-BFGS, multinomial
    candidates = {"logisticregression__C": [1 / penalty for penalty in config.penalties]}
    return GridSearchCV(model, candidates, cv=StratifiedKFold(config.folds, shuffle=True, random_state=seed))


class ProbeTables(NamedTuple):
    """The tables of the probe study (docs/studies/probe.md); without rows where images have no labels."""

    accuracy: pd.DataFrame
    correct: pd.DataFrame


ABOUT = ["dataset", *FeaturePoint._fields]
EMPTY = ProbeTables(
    accuracy=pd.DataFrame(columns=[*ABOUT, "size", "seed", "split", "accuracy", "n"]),
    correct=pd.DataFrame(columns=[*ABOUT, "image_id", "correct"]),
)


def measure_probes(
    tokenizer: AdaptiveTokenizer,
    train: ImageSet,
    test: ImageSet,
    config: ProbeConfig,
    seed: int,
    scratch: Path,
    fabric: "Fabric | None" = None,
) -> ProbeTables | None:
    """Fit and score a probe per feature point and seed.

    Args:
        tokenizer: frozen, in eval mode.
        train: images to fit on; each seed draws a share of them.
        test: images to score on.
        config: feature points, kind of probe, seeds.
        seed: the first of `config.seeds` consecutive ones.
        scratch: where features and fits are kept until the stage is done.
        fabric: the processes that share the batches and the feature points; by default this one alone, on the CPU.

    Returns:
        The tables; None in every process but the first.

    Raises:
        DataError: the two sets have different classes.
    """
    train_rows, train_labels = labeled_images(train, config.train_images)
    test_rows, test_labels = labeled_images(test)
    if not len(train_rows) or not len(test_rows):
        return EMPTY
    if train.class_names != test.class_names:
        raise DataError(
            f"expected the classes of {train.name} in {test.name}, found {', '.join(test.class_names[:5])}, ...; "
            "probe a training set and an evaluation set of the same classes"
        )
    fabric = fabric or build_fabric("cpu", 1)
    fitted, scored = (
        compute_features(tokenizer, images, rows, config.batch_size, scratch / images.name, fabric)
        for images, rows in ((train, train_rows), (test, test_rows))
    )
    device, points = next(tokenizer.parameters()).device, feature_points(config, tokenizer.config)

    def work(number: int) -> Mapping[str, np.ndarray]:
        inputs, held_out = (gather(arrays, points[number], tokenizer.config) for arrays in (fitted, scored))
        return _fit_point(inputs, train_labels, held_out, test_labels, config, seed, device)._asdict()

    store = PieceStore(resume_dir(scratch, "fits", {"probe": config, "seed": seed}, []))
    store.fill(fabric, [1] * len(points), work, "probes", "feature point")
    if not fabric.is_global_zero:
        return None
    fits = [PointFit(**store.read(number)) for number in range(len(points))]
    return _tabulate(points, fits, test, test_rows, seed)


class PointFit(NamedTuple):
    """The probes of one feature point, one for each seed."""

    size: np.ndarray  # () features
    accuracy: np.ndarray  # (seeds, 2) on training and test images
    counts: np.ndarray  # (seeds, 2) of these images
    correct: np.ndarray  # (n,) share of the seeds that are right about a test image


def _fit_point(
    inputs: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    test_labels: np.ndarray,
    config: ProbeConfig,
    seed: int,
    device: torch.device,
) -> PointFit:
    accuracy, counts, hits = [], [], np.zeros(len(held_out))
    for number in range(seed, seed + config.seeds):
        drawn = draw_images(len(inputs), config.draw_share, number)
        predict = fit_probe(inputs[drawn], labels[drawn], config, number, device)
        right = (predict(inputs[drawn]) == labels[drawn], predict(held_out) == test_labels)
        accuracy.append([each.mean() for each in right])
        counts.append([len(each) for each in right])
        hits += right[1]
    return PointFit(np.array(inputs.shape[1]), np.array(accuracy), np.array(counts), hits / config.seeds)


def _tabulate(
    points: Sequence[FeaturePoint], fits: Sequence[PointFit], test: ImageSet, rows: np.ndarray, seed: int
) -> ProbeTables:
    names = test.manifest["image_id"].astype(str).to_numpy()[rows]
    accuracies, corrects = [], []
    for point, fit in zip(points, fits, strict=True):
        about = {"dataset": test.name, **point._asdict()}
        for number, (accuracy, counts) in enumerate(zip(fit.accuracy, fit.counts, strict=True), start=seed):
            each = about | {"size": int(fit.size), "seed": number}
            for split, value, count in zip(("train", "test"), accuracy, counts, strict=True):
                accuracies.append(each | {"split": split, "accuracy": value, "n": int(count)})
        corrects.append(pd.DataFrame({**about, "image_id": names, "correct": fit.correct}))
    words = ["dataset", "features", "tokens", "stage", "pooling", "image_id"]
    correct = pd.concat(corrects, ignore_index=True).astype(dict.fromkeys(words, "category"))
    return ProbeTables(pd.DataFrame(accuracies), correct)


def draw_images(count: int, share: float, seed: int) -> np.ndarray:
    """Draw a share of `count` image numbers without replacement, ascending."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: max(1, round(share * count))])


def labeled_images(images: ImageSet, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n,) and int64 labels (n,) of the images that have a label, at most `limit`, spread evenly."""
    labels = images.labels(np.arange(len(images))).numpy()
    rows = np.flatnonzero(labels >= 0)
    count = len(rows) if limit is None else min(limit, len(rows))
    rows = rows[np.arange(count) * len(rows) // max(count, 1)]
    return rows, labels[rows]
