"""Probes of every feature point of a frozen tokenizer: fitted on training images, scored on evaluation images."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from alit.data.imageset import ImageSet
from alit.errors import DataError, require
from alit.models.distillation import TokenizerConfig
from alit.settings import Settings
from alit.studies.probe import CONTROLS, CONTROLS_OF_PIXELS, TOKENIZER, FeaturePoint, FixedLengthPair
from alit.studies.probe.features import FeatureArrays, TokenArrays, compute_features, gather
from alit.tokenizer.protocol import Tokenizer, device_of
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import resume_dir
from alit.training.engine.fabric import build_fabric
from alit.training.engine.processes import PieceStore

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
    compared_images: PositiveInt | None = None  # of those, that variants are compared on; null takes all
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
    put side by side are all latents of an iteration, without image tokens. Of the last iteration, the last s, 2s, ...
    latents as the encoder leaves them are pooled, too.
    """
    points = []
    every = range(1, tokenizer.iterations + 1)
    iterations = sorted({*(config.iterations or every)} & {*every})
    for stage, pooling, tokens in product(config.stages, config.pooling, config.tokens):
        if tokens != "latents" and (stage, pooling) != ("encoder", "mean"):
            continue
        for iteration in iterations:
            counts = (0,) if tokens == "image" else tokenizer.lengths[:iteration]
            counts = counts if pooling == "mean" else counts[-1:]
            points += [FeaturePoint(TOKENIZER, iteration, tokens, count, stage, pooling) for count in counts]
    if "latents" in config.tokens and iterations:
        last = iterations[-1]
        points += [
            FeaturePoint(TOKENIZER, last, "last latents", count, "encoder", "mean")
            for count in tokenizer.lengths[: last - 1]
        ]
    return [*points, *(FeaturePoint(name) for name in CONTROLS)]


def token_points(config: ProbeConfig, counts: Sequence[int]) -> list[FeaturePoint]:
    """List the points of a tokenizer of another kind, by the tokens of its lengths: `iteration` numbers these from 1.

    At each length the first tokens, as many as each length up to it has, are pooled to a mean; of the longest the last
    ones, too. What is put side by side are means of runs of all tokens of a length. It has no image tokens beside them.
    """
    if "latents" not in config.tokens:
        return [FeaturePoint(name) for name in CONTROLS_OF_PIXELS]
    points = []
    for iteration, count in enumerate(counts, start=1):
        if config.iterations is not None and iteration not in config.iterations:
            continue
        for pooling in config.pooling:
            pooled = counts[:iteration] if pooling == "mean" else (count,)
            points += [FeaturePoint(TOKENIZER, iteration, "latents", each, "encoder", pooling) for each in pooled]
    last = len(counts)
    if config.iterations is None or last in config.iterations:
        points += [FeaturePoint(TOKENIZER, last, "last latents", each, "encoder", "mean") for each in counts[:-1]]
    return [*points, *(FeaturePoint(name) for name in CONTROLS_OF_PIXELS)]


def pair_points(
    config: ProbeConfig, lengths: Mapping[str, Sequence[int]], pairs: Sequence[FixedLengthPair]
) -> dict[str, list[FeaturePoint]]:
    """List the points that compare variants, by variant: its tokens where it has as many as one of a fixed length.

    Args:
        config: kinds of tokens.
        lengths: of each variant.
        pairs: those of which the first has no such length have no points.
    """
    points: dict[str, list[FeaturePoint]] = {}
    for pair in pairs:
        (fixed,) = lengths[pair.than]
        if fixed not in lengths[pair.variant]:
            continue
        for name in pair:
            iteration = list(lengths[name]).index(fixed) + 1
            asked = [(tokens, 0 if tokens == "image" else fixed) for tokens in config.tokens]
            points.setdefault(name, []).extend(
                FeaturePoint(name, iteration, tokens, count, "encoder", "mean") for tokens, count in asked
            )
    return {name: list(dict.fromkeys(each)) for name, each in points.items()}


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
    # A copy: features may be mapped from a file that cannot be written.
    return probe(torch.from_numpy(np.array(values, np.float32)).to(device)).argmax(dim=1).cpu().numpy()


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
    pairs: pd.DataFrame


ABOUT = ["dataset", *FeaturePoint._fields]
EMPTY = ProbeTables(
    accuracy=pd.DataFrame(columns=[*ABOUT, "size", "seed", "split", "accuracy", "n"]),
    correct=pd.DataFrame(columns=[*ABOUT, "image_id", "correct"]),
    pairs=pd.DataFrame(columns=list(FixedLengthPair._fields)),
)


class PooledFeatures(NamedTuple):
    """What the probes of one tokenizer are fitted and scored on."""

    fitted: FeatureArrays | TokenArrays
    labels: np.ndarray  # (n,) of the images that are fitted
    scored: FeatureArrays | TokenArrays
    tokenizer: TokenizerConfig | None  # None of one of another kind


def measure_probes(
    tokenizer: Tokenizer,
    train: ImageSet,
    test: ImageSet,
    config: ProbeConfig,
    seed: int,
    scratch: Path,
    fabric: "Fabric | None" = None,
    variants: Mapping[str, AdaptiveTokenizer] = MappingProxyType({}),
    pairs: Sequence[FixedLengthPair] = (),
) -> ProbeTables | None:
    """Fit and score a probe per feature point and seed.

    Args:
        tokenizer: frozen, in eval mode; one of another kind has `features` (`alit.tokenizer.protocol`).
        train: images to fit on; each seed draws a share of them.
        test: images to score on.
        config: feature points, kind of probe, seeds.
        seed: the first of `config.seeds` consecutive ones.
        scratch: where features and fits are kept until the stage is done.
        fabric: the processes that share the batches and the feature points; by default this one alone, on the CPU.
        variants: trained variants of the tokenizer by the names that `pairs` have for them, frozen, in eval mode.
        pairs: a recurrent variant and one of a fixed length each, probed at that length.

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

    def pool(
        network: Tokenizer, rows: np.ndarray, labels: np.ndarray, folder: Path, iterations: int | None = None
    ) -> PooledFeatures:
        fitted, scored = (
            compute_features(network, images, chosen, config.batch_size, folder / images.name, fabric, iterations)
            for images, chosen in ((train, rows), (test, test_rows))
        )
        own = network.config if isinstance(network, AdaptiveTokenizer) else None
        return PooledFeatures(fitted, labels, scored, own)

    compared = pair_points(config, {name: network.lengths for name, network in variants.items()}, pairs)
    own = pool(tokenizer, train_rows, train_labels, scratch)
    points = [*_points_of(config, own), *(point for each in compared.values() for point in each)]
    some = spread_evenly(len(train_rows), config.compared_images)
    others = {
        name: pool(
            variants[name],
            train_rows[some],
            train_labels[some],
            scratch / name,
            max(point.iteration for point in asked),
        )
        for name, asked in compared.items()
    }
    device = device_of(tokenizer)

    def work(number: int) -> Mapping[str, np.ndarray]:
        pooled = others.get(points[number].features, own)
        inputs, held_out = (gather(each, points[number], pooled.tokenizer) for each in (pooled.fitted, pooled.scored))
        return _fit_point(inputs, pooled.labels, held_out, test_labels, config, seed, device)._asdict()

    store = PieceStore(resume_dir(scratch, "fits", {"probe": config, "seed": seed}, []))
    store.fill(fabric, [1] * len(points), work, "probes", "feature point")
    if not fabric.is_global_zero:
        return None
    fits = [PointFit(**store.read(number)) for number in range(len(points))]
    found = [pair for pair in pairs if pair.variant in compared and pair.than in compared]
    accuracy, correct = _tabulate(points, fits, test, test_rows, seed)
    return ProbeTables(accuracy, correct, pd.DataFrame(found, columns=EMPTY.pairs.columns))


def _points_of(config: ProbeConfig, pooled: PooledFeatures) -> list[FeaturePoint]:
    if pooled.tokenizer is not None:
        return feature_points(config, pooled.tokenizer)
    assert isinstance(pooled.fitted, TokenArrays)
    return token_points(config, pooled.fitted.counts[0].astype(int).tolist())


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
) -> tuple[pd.DataFrame, pd.DataFrame]:
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
    return pd.DataFrame(accuracies), correct


def draw_images(count: int, share: float, seed: int) -> np.ndarray:
    """Draw a share of `count` image numbers without replacement, ascending."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: max(1, round(share * count))])


def labeled_images(images: ImageSet, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n,) and int64 labels (n,) of the images that have a label, at most `limit`, spread evenly."""
    labels = images.labels(np.arange(len(images))).numpy()
    rows = np.flatnonzero(labels >= 0)
    rows = rows[spread_evenly(len(rows), limit)]
    return rows, labels[rows]


def spread_evenly(count: int, limit: int | None) -> np.ndarray:
    """Return at most `limit` of `count` numbers from 0, spread evenly over them; all without a limit."""
    chosen = count if limit is None else min(limit, count)
    return np.arange(chosen) * count // max(chosen, 1)
