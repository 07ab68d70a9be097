"""Tables of the probe study with known answers: what recurrence and what few latents do for the accuracy."""

from itertools import product

import numpy as np
import pandas as pd

from alit.studies.probe import CONTROLS, VARIANTS, FeaturePoint, FixedLengthPair

LENGTHS = (2, 4, 6, 8)
PAIRS = [FixedLengthPair(f"{VARIANTS}grows/{seed}", f"{VARIANTS}fixed/{seed}") for seed in (0, 1)]
CONTROL_ACCURACY = dict(zip(CONTROLS, (0.1, 0.2, 0.3, 0.25, 0.35), strict=True))


def synthetic_points(iterations: int = len(LENGTHS)) -> list[FeaturePoint]:
    """Return every point of mean-pooled tokens, latents side by side, the variants of `PAIRS`, and the controls."""
    points = []
    for (tokens, stage), iteration in product(
        (("image", "encoder"), ("latents", "encoder"), ("both", "encoder"), ("latents", "quantizer")),
        range(1, iterations + 1),
    ):
        counts = (0,) if tokens == "image" else LENGTHS[:iteration]
        points += [FeaturePoint("tokenizer", iteration, tokens, count, stage, "mean") for count in counts]
    side_by_side = (
        FeaturePoint("tokenizer", number, "latents", LENGTHS[number - 1], "encoder", "concatenated")
        for number in range(1, iterations + 1)
    )
    late = [FeaturePoint("tokenizer", iterations, "last latents", count, "encoder", "mean") for count in LENGTHS[:-1]]
    variants = [
        FeaturePoint(name, iteration, tokens, 0 if tokens == "image" else LENGTHS[1], "encoder", "mean")
        for pair in PAIRS
        for name, iteration in zip(pair, (2, 1), strict=True)
        for tokens in ("image", "latents", "both")
    ]
    return [*points, *side_by_side, *late, *variants, *(FeaturePoint(name) for name in CONTROLS)]


def probe_tables(
    images: int = 400,
    recurrence: float = 0.1,
    first: float = 0.1,
    late: float = -0.1,
    fixed: float = 0.0,
    noise: float = 0.0,
    points: list[FeaturePoint] | None = None,
    dataset: str = "val",
) -> dict[str, pd.DataFrame]:
    """Return the study's tables for probes of known accuracy.

    Args:
        images: test images.
        recurrence: what iterations after the first add to the accuracy.
        first: what the fewest latents have beyond all of them.
        late: the same of the last latents.
        fixed: what a variant with a fixed length has beyond a recurrent one.
        noise: share of the answers that are right or wrong by a toss of each point's own.
        points: those that were probed.
        dataset: the test set.
    """
    generator = np.random.default_rng(0)
    difficulty, seeds = generator.permutation(np.arange(images) / images), 2
    names = [f"{dataset}-{row:05d}" for row in range(images)]
    accuracy, correct = [], []
    for point in points or synthetic_points():
        about = {"dataset": dataset, **point._asdict()}
        level = CONTROL_ACCURACY.get(point.features, 0.4 + recurrence * (point.iteration > 1))
        fewer = {"latents": first, "last latents": late}.get(point.tokens, 0.0)
        if point.features.startswith(VARIANTS):
            level, fewer = 0.5 + fixed * ("fixed" in point.features), 0.0
        level += fewer * (1 - point.latents / LENGTHS[-1])
        tossed = generator.random((seeds, images)) < noise
        right = np.where(tossed, generator.random((seeds, images)) < 0.5, difficulty < level)
        for seed, (split, count) in product(range(seeds), (("train", 800), ("test", images))):
            fit = {"size": 16, "seed": seed, "split": split, "accuracy": right[seed].mean(), "n": count}
            accuracy.append(about | fit)
        correct.append(pd.DataFrame({**about, "image_id": names, "correct": right.mean(axis=0)}))
    return {
        "probe_accuracy": pd.DataFrame(accuracy),
        "probe_correct": pd.concat(correct, ignore_index=True),
        "probe_pairs": pd.DataFrame(PAIRS),
    }


def unlabeled_tables() -> dict[str, pd.DataFrame]:
    """Return the tables of images without labels: the same columns and no rows."""
    return {name: table.iloc[:0] for name, table in probe_tables(3).items()}
