"""Tables of the ablation and cost studies with known answers: what each change gains is a number of the caller."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

LENGTHS = (4, 8, 16, 32)
# Change against the plain variant -> the share by which it lowers every error; negative raises it.
GAINS = {"continuous": 0.2, "width": 0.1, "depth": 0.1, "steps": 0.1, "data": 0.1, "stage 2": 0.3, "recurrence": 0.1}


def ablation_tables(
    images: int = 40,
    gains: Mapping[str, float] = GAINS,
    *,
    fixed: float = 0.05,
    own: float = 0.05,
    seeds: Iterable[int] = (0, 1, 2),
    once: Iterable[str] = (),
    seed_spread: float = 0.004,
    crossing: float = 0.0,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Return the tables of the stage `ablations`.

    Args:
        images: of the set.
        gains: which changes were trained, one variant each named after it; "recurrence" is the plain variant's gain
            over a nested one.
        fixed: share by which the plain variant's error is above that of a network of the longest length alone.
        own: share by which the profile's tokenizer's error is above the base's.
        seeds: trainings of each variant.
        once: variants of which only the first of them was trained.
        crossing: share by which the continuous variant's gain falls from the shortest length to the longest.
        seed_spread: deviation of a training's level, as a share.
        seed: of the noise.
    """
    generator = np.random.default_rng(seed)
    image = np.exp(0.3 * generator.normal(size=images))
    levels = {"plain": 1.0} | {name: 1 - gain for name, gain in gains.items() if name != "recurrence"}
    asked = [(name, name, "plain") for name in levels if name != "plain"]
    if "recurrence" in gains:
        levels["nested"] = 1 / (1 - gains["recurrence"])
        asked.append(("recurrence", "plain", "nested"))
    levels["fixed"] = 1 / (1 + fixed)
    asked.append(("fixed length", "plain", "fixed"))
    variants, costs = [], []
    for name, level in levels.items():
        lengths = LENGTHS[-1:] if name == "fixed" else LENGTHS
        for number in list(seeds)[: 1 if name in once else None]:
            training = level * (1 + seed_spread * generator.normal())
            rates = _rates(generator, image * training, lengths, 384 if name == "continuous" else 10)
            if name == "continuous" and crossing:
                factor = 1 + crossing * (rates["length"] - LENGTHS[0]) / (LENGTHS[-1] - LENGTHS[0])
                rates[["l1", "frechet"]] = rates[["l1", "frechet"]].mul(factor, axis=0)
            variants.append(rates.assign(variant=name, seed=number))
            costs.append(_costs(lengths).assign(variant=name, seed=number))
    return {
        "ablation_variants": pd.concat(variants, ignore_index=True),
        "ablation_costs": pd.concat(costs, ignore_index=True),
        "ablation_comparisons": pd.DataFrame(asked, columns=["factor", "variant", "than"]),
        "ablation_references": pd.concat(
            [
                _rates(generator, image * (1 + own) / _decay(LENGTHS[-1]), LENGTHS).assign(tokenizer="own"),
                _rates(generator, image / _decay(64), (64,)).assign(tokenizer="base"),
                _rates(generator, image, (20, 60, 90)).assign(tokenizer="jpeg"),
            ],
            ignore_index=True,
        ),
    }


def cost_tables(
    rounds: int = 12, *, rise: float = 2.0, one_pass: float = 30.0, noise: float = 0.02, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Return the tables of the stage `cost`.

    Args:
        rounds: of single images.
        rise: milliseconds more that the own tokenizer takes with each length, beyond ten.
        one_pass: milliseconds that a network of one pass takes for any length.
        noise: of each time and of each round, as a share.
        seed: of the noise.
    """
    generator = np.random.default_rng(seed)
    slow = np.exp(noise * generator.normal(size=rounds))
    plan = [("own", operation, LENGTHS) for operation in ("encode", "encode until it suffices", "decode")]
    plan += [("nested", operation, LENGTHS) for operation in ("encode", "encode until it suffices", "decode")]
    plan += [("fixed", operation, LENGTHS[-1:]) for operation in ("encode", "decode")]
    plan += [("jpeg", "encode and decode", (20, 80))]
    counts, times = [], []
    for tokenizer, operation, lengths in plan:
        for iteration, length in enumerate(lengths, start=1):
            labels = {"tokenizer": tokenizer, "operation": operation, "iteration": iteration, "length": length}
            counted = {"gflop": 0.1 * iteration, "peak_mib": 1.0 + 0.1 * iteration, "parameters": 1000.0}
            if tokenizer == "nested":
                counted["gflop"] = 0.15
            if tokenizer == "jpeg":
                counted = dict.fromkeys(counted, np.nan)
            counts.append(labels | counted | {"device": "cpu", "threads": 1})
            taken = one_pass if tokenizer == "nested" else 10 + rise * iteration
            seconds = 1e-3 * taken * slow * np.exp(noise * generator.normal(size=rounds))
            rows = pd.DataFrame({"image": np.arange(rounds), "seconds": seconds, "device": "cpu", "threads": 1})
            times.append(rows.assign(**labels))
    return {"cost_counts": pd.DataFrame(counts), "cost_times": pd.concat(times, ignore_index=True)}


def _decay(length: float) -> float:
    return float(0.4 + 0.6 * np.exp(-length / 12))


def _rates(generator: np.random.Generator, level: np.ndarray, lengths: Iterable[int], bits: float = 10) -> pd.DataFrame:
    """Return one row per image and length; the image's level times the length's decay, and little noise."""
    decay = np.array([_decay(length) for length in lengths])
    errors = 0.1 * level[:, None] * decay * np.exp(0.02 * generator.normal(size=(len(level), len(decay))))
    names = [f"val-{number:05d}" for number in range(len(level))]
    return pd.DataFrame(
        {
            "image_id": np.repeat(names, len(decay)),
            "length": np.tile(list(lengths), len(level)),
            "bits": np.tile([float(bits * length) for length in lengths], len(level)),
            "l1": errors.ravel(),
            "frechet": 40 * errors.ravel(),
        }
    )


def _costs(lengths: Iterable[int]) -> pd.DataFrame:
    given = {"decode_gflop": 0.3, "parameters": 500_000, "visits": 12_800, "training_tflop": 5.0}
    return pd.DataFrame([{"length": length, "encode_gflop": 0.1 + 0.01 * length, **given} for length in lengths])
