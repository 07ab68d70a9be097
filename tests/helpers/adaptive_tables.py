"""Sweep tables in which it is known whom tokens help: images differ in loss, in what tokens bring, or not at all."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from synthetic_tables import SETTINGS

LENGTHS = np.arange(4, 33, 4)
BARE = SETTINGS.model_copy(update={"classifiers": (), "depth_models": (), "captioners": (), "perceptual_model": "net"})
TWO_NETWORKS = BARE.model_copy(update={"classifiers": ("weak", "strong")})


class Images(NamedTuple):
    """How images differ: L1 is a floor plus a part that tokens remove, and a little noise."""

    floors: float = 0.0  # spread of what no token removes, half its range
    gains: float = 0.0  # spread of what tokens remove, half its range, below 0.2
    hopeless: float = 0.0  # share of images with a constant loss above all others
    noise: float = 0.0  # standard deviation of L1


def adaptive_table(images: int, differ: Images, seed: int = 0) -> pd.DataFrame:
    """Return a sweep table of one data set with L1, SSIM and a perceptual distance that is proportional to L1."""
    generator = np.random.default_rng(seed)
    place = np.arange(len(LENGTHS)) / (len(LENGTHS) - 1)
    floor = 0.1 + differ.floors * generator.uniform(-1, 1, images)
    gain = 0.2 + differ.gains * generator.uniform(-1, 1, images)
    l1 = (
        floor[:, None] + gain[:, None] * np.exp(-3 * place) + differ.noise * generator.normal(size=(images, len(place)))
    )
    l1[generator.uniform(size=images) < differ.hopeless] = 0.8
    return sweep_table(l1)


def sweep_table(l1: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    """Return a sweep table of L1 (n, l) and of further columns of that shape, without rows of untouched images."""
    images, lengths = l1.shape
    identity = {"dataset": "val", "split": "val", "image_id": np.repeat([f"{i:06d}" for i in range(images)], lengths)}
    length = np.tile(LENGTHS[:lengths], images)
    scores = {"l1": l1.ravel(), "ssim": 1 - 3 * l1.ravel(), "perceptual_net": 4 * l1.ravel(), "bits": 10.0 * length}
    scores |= {name: np.broadcast_to(values, l1.shape).ravel() for name, values in columns.items()}
    return pd.DataFrame(identity | {"length": length} | scores)


def with_networks(table: pd.DataFrame, agree: bool, seed: int = 1) -> pd.DataFrame:
    """Add the ranks of two classifiers: each image needs some number of tokens, the same for both or one for each."""
    generator = np.random.default_rng(seed)
    images = table["image_id"].nunique()
    length = table["length"].to_numpy().reshape(images, -1)
    needs = generator.integers(0, length.shape[1] + 1, size=(2, images))
    needs = needs[[0, 0]] if agree else needs
    for name, need in zip(("weak", "strong"), needs, strict=True):
        right = np.arange(length.shape[1]) >= need[:, None]
        table = table.assign(**{f"class_rank_{name}": np.where(right, 0.0, 3.0).ravel()})
    return table
