"""Probes of every feature point of a frozen tokenizer: fitted on training images, scored on evaluation images."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from torch import Tensor
from tqdm import tqdm

from alit.config.s_probe import ProbeConfig
from alit.errors import DataError
from alit.probing.features import ProbedSet, compute_features, gather
from alit.probing.linear import fit_probe
from alit.probing.points import FeaturePoint, feature_points
from alit.tokenizer.tokenizer import AdaptiveTokenizer


class LabelledSet(ProbedSet, Protocol):
    """The part of an image set that is read."""

    class_names: tuple[str, ...]
    manifest: pd.DataFrame

    def labels(self, indices: np.ndarray) -> Tensor:
        """Return int64 labels (b,) into `class_names`, -1 where unknown."""
        ...


class ProbeTables(NamedTuple):
    """The tables of the probe study (docs/probe.md); without rows where images have no labels."""

    accuracy: pd.DataFrame
    correct: pd.DataFrame


class Labelled(NamedTuple):
    """The labelled images of a set."""

    rows: np.ndarray  # (n,) in the set
    labels: np.ndarray  # (n,) int64


ABOUT = ["dataset", *FeaturePoint._fields]
EMPTY = ProbeTables(
    accuracy=pd.DataFrame(columns=[*ABOUT, "size", "seed", "split", "accuracy", "n"]),
    correct=pd.DataFrame(columns=[*ABOUT, "image_id", "correct"]),
)


def measure_probes(
    tokenizer: AdaptiveTokenizer, train: LabelledSet, test: LabelledSet, config: ProbeConfig, seed: int, scratch: Path
) -> ProbeTables:
    """Fit and score a probe per feature point and seed.

    Args:
        tokenizer: frozen, in eval mode.
        train: images to fit on; each seed draws a share of them.
        test: images to score on.
        config: feature points, kind of probe, seeds.
        seed: the first of `config.seeds` consecutive ones.
        scratch: where features are kept until the stage is done.

    Raises:
        DataError: the two sets have different classes.
    """
    known, unknown = labelled_images(train, config.train_images), labelled_images(test)
    if not len(known.rows) or not len(unknown.rows):
        return EMPTY
    if train.class_names != test.class_names:
        raise DataError(
            f"expected the classes of {train.name} in {test.name}, found {', '.join(test.class_names[:5])}, ...; "
            "probe a training set and an evaluation set of the same classes"
        )
    fitted, scored = (
        compute_features(tokenizer, images, part.rows, config.batch_size, scratch / images.name)
        for images, part in ((train, known), (test, unknown))
    )
    names = test.manifest["image_id"].astype(str).to_numpy()[unknown.rows]
    accuracies, corrects = [], []
    device = next(tokenizer.parameters()).device
    for point in tqdm(feature_points(config, tokenizer.config), desc="probes", unit="feature point"):
        inputs, held_out = (gather(arrays, point, tokenizer.config) for arrays in (fitted, scored))
        about = {"dataset": test.name, **point._asdict()}
        hits = np.zeros(len(names))
        for number in range(seed, seed + config.seeds):
            drawn = draw_images(len(inputs), config.draw_share, number)
            targets = known.labels[drawn]
            predict = fit_probe(inputs[drawn], targets, config, number, device)
            right = {"train": predict(inputs[drawn]) == targets, "test": predict(held_out) == unknown.labels}
            hits += right["test"]
            fit = about | {"size": inputs.shape[1], "seed": number}
            accuracies += [
                fit | {"split": name, "accuracy": each.mean(), "n": len(each)} for name, each in right.items()
            ]
        corrects.append(pd.DataFrame({**about, "image_id": names, "correct": hits / config.seeds}))
    words = ["dataset", "features", "tokens", "stage", "pooling", "image_id"]
    correct = pd.concat(corrects, ignore_index=True).astype(dict.fromkeys(words, "category"))
    return ProbeTables(pd.DataFrame(accuracies), correct)


def draw_images(count: int, share: float, seed: int) -> np.ndarray:
    """Draw a share of `count` image numbers without replacement, ascending."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: max(1, round(share * count))])


def labelled_images(images: LabelledSet, limit: int | None = None) -> Labelled:
    """Return the images of a set that have a label, at most `limit`, spread evenly over the set."""
    labels = images.labels(np.arange(len(images))).numpy()
    rows = np.flatnonzero(labels >= 0)
    count = len(rows) if limit is None else min(limit, len(rows))
    rows = rows[np.arange(count) * len(rows) // max(count, 1)]
    return Labelled(rows, labels[rows])
