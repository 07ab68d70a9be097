"""How often the ledger errs where the truth is known: null tables judged, and intervals that should cover.

    python -m experiments.simulation -o results/simulation.json

Each case draws tables in which a claim is false in a known way, measures and judges them with the ledger's own
functions, and counts verdicts and outcomes that should not come out. Each coverage draws trainings and images, and
counts how often the interval holds the true mean. Prints json; exits 2 when a rate is above its nominal one by more
than chance, or a coverage is outside its range. A mean over the measurements of trainings, which knows no samples, is
to cover no less than it says.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.choices import settings_of_table
from alit.analysis.claims import Claim, Statement
from alit.analysis.grid import to_grid
from alit.analysis.inference import SeedVariance, TrainingStandardError, over_trainings, pooled_seed_variance, trend
from alit.analysis.measurements import Measurement, measured
from alit.analysis.study_data import StudyData
from alit.analysis.trainings import mean_claim, mean_measurement
from alit.analysis.verdicts import COLUMNS
from alit.cli import path
from alit.errors import DataError, run_command
from alit.files import require_own, write_whole
from alit.studies import assess

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2  # nominal rate of a false "supported", of one in part, and of a false "contradicted"
SURE = 0.99  # a rate is too high where a nominal one would be lower in this share of simulations
COVERED = (0.92, 0.97)  # where the coverage of a 95 % interval may lie
# Standard deviations of log L1 between trainings: what two of the zoo tokenizer differed by (docs/lab-log.md), and one
# that outweighs the images.
SPREADS = (0.02, 0.1)
LEVELS = 5  # times as many tables for the coverage of a level, of which each gives one interval only
MEASUREMENTS = 10  # of a claim about several trainings
COMPARISONS = 9  # variants that are compared with a reference; the variance between seeds is pooled over all ten


Method = Literal["t", "pigeonhole"]


class Case(NamedTuple):
    """Tables in which a claim is false."""

    truth: str
    draw: Callable[[np.random.Generator, int], Claim]  # generator, resamples -> the claim as the ledger judges it
    nominal: Mapping[str, float]  # outcome -> the rate at which it may come out by chance


STATEMENT = Statement(
    id="C0",
    sentence="A difference is above 0.",
    source="no paper",
    paper="nothing",
    criterion="above 0",
    no_control="it is a simulation",
)
NULL = {"supported": TAIL, "supported in part": TAIL, "contradicted": TAIL}


def skewed(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Return numbers of mean 0 and deviation 1 that are skewed as differences of losses are: gamma of shape 4."""
    return (generator.gamma(4, size=shape) - 4) / 2


def differences(
    generator: np.random.Generator,
    resamples: int,
    *,
    images: int = 400,
    count: int = 1,
    shift: float = 0.0,
    **options: Any,
) -> Claim:
    """Judge means of `count` columns of the same images, correlated, that all lie `shift` deviations from 0."""
    values = (skewed(generator, images, 1) + skewed(generator, images, count)) / np.sqrt(2) + shift
    samples = resampled_means(values, resamples, int(generator.integers(2**31)))
    return STATEMENT.judge(
        [_measured(f"mean_{number}", each, images, **options) for number, each in enumerate(samples.T)]
    )


def flat_trend(generator: np.random.Generator, resamples: int, *, images: int = 400, steps: int = 8) -> Claim:
    """Judge the trend of a loss that does not change with the length, where images differ far more than lengths do."""
    values = 4 * skewed(generator, images, 1) + skewed(generator, images, steps)
    samples = trend(resampled_means(values, resamples, int(generator.integers(2**31))))
    return STATEMENT.judge([_measured("trend", samples, images)])


def share_of_an_improvement(generator: np.random.Generator, resamples: int, *, images: int = 400) -> Claim:
    """Judge a difference of 0 as a share of an improvement that is measured on the same images."""
    values = skewed(generator, images, 2) + np.array([0.0, 1.0])
    means = resampled_means(values, resamples, int(generator.integers(2**31)))
    return STATEMENT.judge([_measured("share", means[:, 0] / means[:, 1], images)])


def variants(
    generator: np.random.Generator, resamples: int, *, seeds: int, spread: float = SPREADS[0], images: int = 300
) -> Claim:
    """Judge `COMPARISONS` variants that are as good as the reference, some seeds each, with pooled variance."""
    values = _trainings(generator, 1 + COMPARISONS, seeds, images, spread)
    seed = int(generator.integers(2**31))
    means = _means(values, resamples, seed)
    changes, between = means[:, 1:] - means[:, :1], _variance_of_a_change(means)
    samples = [over_trainings(changes[:, number], seed + number, between) for number in range(COMPARISONS)]
    error = TrainingStandardError(float(np.sqrt(between.variance / seeds)), between.degrees)
    return STATEMENT.judge(
        [_measured(f"variant_{number}", each, images, training_error=error) for number, each in enumerate(samples)]
    )


def trainings(
    generator: np.random.Generator, resamples: int, *, seeds: int, spread: float = SPREADS[0], images: int = 300
) -> Claim:
    """Judge a claim of `MEASUREMENTS` means of 0 about some trainings, from the claim of each training."""
    values = _trainings(generator, MEASUREMENTS, seeds, images, spread)
    means = _means(values, resamples, int(generator.integers(2**31)))
    return mean_claim([_claim_of_one_training(means[:, :, number], images) for number in range(seeds)])


def _claim_of_one_training(means: np.ndarray, images: int) -> Claim:
    return STATEMENT.judge([_measured(f"mean_{number}", each, images) for number, each in enumerate(means.T)])


def claim_of_the_paper(generator: np.random.Generator, resamples: int, *, claim: str, images: int = 150) -> Claim:
    """Judge a claim on a sweep in which loss has nothing to do with length and complexity."""
    lengths = np.arange(9)
    table = pd.DataFrame(
        {
            "dataset": "val",
            "split": "val",
            "image_id": np.repeat([f"{number:04d}" for number in range(images)], len(lengths)),
            "complexity": np.repeat(generator.random(images), len(lengths)),
            "length": np.tile(8 * lengths, images),
            "l1": (np.exp(0.3 * skewed(generator, images, 1) + 0.3 * skewed(generator, images, len(lengths)))).ravel(),
        }
    )
    table.loc[table["length"] == 0, "l1"] = 0.0
    settings = settings_of_table(table).model_copy(update={"resamples": resamples, "confidence": CONFIDENCE})
    data = StudyData(to_grid(table), "val", 64, settings, int(generator.integers(2**31)), features={})
    (judged,) = assess(data, [claim])
    return judged


CASES = {
    "one difference": Case("a difference of 0", differences, NULL),
    "eight differences": Case("eight correlated differences of 0", partial(differences, count=8), NULL),
    "negligible": Case(
        "eight differences of 0, with a margin of half a deviation: equivalent, and nothing else",
        partial(differences, count=8, margin=0.5),
        NULL,
    ),
    "at the edge of the margin": Case(
        "a difference as large as the smallest effect of interest: not negligible",
        partial(differences, shift=0.2, margin=0.2),
        {"equivalent": 1 - CONFIDENCE, "contradicted": TAIL},
    ),
    "equivalence at its margin": Case(
        "a difference as large as the margin within which the claim wants it",
        partial(differences, shift=0.2, margin=0.2, expects="equivalence"),
        {"supported": 1 - CONFIDENCE, "contradicted": TAIL},
    ),
    "flat over lengths": Case("a loss that does not change over eight lengths", flat_trend, NULL),
    "share of an improvement": Case(
        "a difference of 0, as a share of what tokens bring", share_of_an_improvement, NULL
    ),
    "two seeds": Case("nine variants as good as the reference, two seeds each", partial(variants, seeds=2), NULL),
    "three seeds": Case("nine variants as good as the reference, three seeds each", partial(variants, seeds=3), NULL),
    "two seeds apart": Case(
        "nine variants as good as the reference, two seeds each, which differ more than images",
        partial(variants, seeds=2, spread=SPREADS[1]),
        NULL,
    ),
    "two trainings": Case("ten means of 0 of two trainings", partial(trainings, seeds=2), NULL),
    "three trainings": Case("ten means of 0 of three trainings", partial(trainings, seeds=3), NULL),
    "two trainings apart": Case(
        "ten means of 0 of two trainings, which differ more than images",
        partial(trainings, seeds=2, spread=SPREADS[1]),
        NULL,
    ),
    "three trainings apart": Case(
        "ten means of 0 of three trainings, which differ more than images",
        partial(trainings, seeds=3, spread=SPREADS[1]),
        NULL,
    ),
    "C1": Case("a loss that does not change with the length", partial(claim_of_the_paper, claim="C1"), NULL),
    "C2": Case("a loss that has nothing to do with complexity", partial(claim_of_the_paper, claim="C2"), NULL),
    "C3": Case("lengths that have nothing to do with complexity", partial(claim_of_the_paper, claim="C3"), NULL),
}


def _measured(name: str, samples: np.ndarray, images: int, **options: Any) -> Measurement:
    return measured(name, name.replace("_", " "), samples, CONFIDENCE, images, 0.0, **options)


def _trainings(
    generator: np.random.Generator, variants: int, seeds: int, images: int = 300, spread: float = SPREADS[0]
) -> np.ndarray:
    """Return log losses (variants, seeds, images): training + image + training x image, all of mean 0."""
    trained = generator.normal(0, spread, (variants, seeds, 1))
    return trained + 0.4 * skewed(generator, images) + 0.1 * skewed(generator, variants, seeds, images)


def _means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return (1 + r, variants, seeds) means of values (variants, seeds, images) over images."""
    count, seeds, images = values.shape
    return resampled_means(values.reshape(-1, images).T, resamples, seed).reshape(-1, count, seeds)


def _variance_of_a_change(means: np.ndarray) -> SeedVariance:
    """Return the variance between seeds of a difference of two variants, from means (1 + r, variants, seeds)."""
    own = pooled_seed_variance(list(means[0]))
    return SeedVariance(2 * own.variance, own.degrees)


def null_rates(case: Case, tables: int, resamples: int, seed: int) -> dict[str, Any]:
    """Judge null tables; return the rate of each outcome, its nominal rate, and the highest that chance allows.

    "supported in part" counts verdicts that rest on some support, "contradicted" and "equivalent" count tables in which
    any measurement is that. A claim of two columns has the rates of the column in which they are higher.
    """
    from scipy import stats

    counts = {
        column: dict.fromkeys(("supported", "supported in part", "contradicted", "equivalent"), 0) for column in COLUMNS
    }
    for number in range(tables):
        judged = case.draw(np.random.default_rng([seed, number]), resamples)
        for column, verdict in (("stated", judged.verdict), ("control", judged.control_verdict)):
            outcomes = {part.outcome for part in judged.measurements if part.column == column}
            counts[column]["supported"] += verdict == "supported"
            counts[column]["supported in part"] += verdict in ("supported", "partly supported", "mixed")
            counts[column]["contradicted"] += "contradicted" in outcomes
            counts[column]["equivalent"] += "equivalent" in outcomes
    rates = {name: max(counts[column][name] for column in COLUMNS) / tables for name in counts["stated"]}
    highest = {name: float(stats.binom.ppf(SURE, tables, rate)) / tables for name, rate in case.nominal.items()}
    within = all(rates[name] <= highest[name] for name in highest)
    return {"truth": case.truth, "rates": rates, "nominal": dict(case.nominal), "highest": highest, "within": within}


def pooled_coverage(seeds: int, spread: float, tables: int, resamples: int, seed: int) -> dict[str, Any]:
    """Cover the change of `COMPARISONS` variants against one reference, with the pooled variance between seeds."""
    inside, widths = [], []
    for number in range(tables):
        generator = np.random.default_rng([seed, seeds, number])
        means = _means(_trainings(generator, 1 + COMPARISONS, seeds, spread=spread), resamples, number)
        changes, between = means[:, 1:] - means[:, :1], _variance_of_a_change(means)
        for variant in range(COMPARISONS):
            low, high = interval(over_trainings(changes[:, variant], 1000 * number + variant, between), CONFIDENCE)
            inside.append(low <= 0 <= high)
            widths.append((high - low) / 2)
    return _covered(inside, widths)


def level_coverage(method: Method, seeds: int, spread: float, tables: int, resamples: int, seed: int) -> dict[str, Any]:
    """Cover the mean of one tokenizer by some seeds of its own: the pigeonhole bootstrap, or Student's t."""
    inside, widths = [], []
    for number in range(tables):
        (values,) = _trainings(np.random.default_rng([seed, seeds, number]), 1, seeds, spread=spread)
        if method == "pigeonhole":
            samples = pigeonhole(values, resamples, number)
        else:
            samples = over_trainings(resampled_means(values.T, resamples, number), number)
        low, high = interval(samples, CONFIDENCE)
        inside.append(low <= 0 <= high)
        widths.append((high - low) / 2)
    return _covered(inside, widths)


def pigeonhole(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return (1 + r, ...) means of values (s, n, ...) over seeds and images, both drawn with replacement.

    The pigeonhole bootstrap for crossed factors (Owen 2007): seeds and images are drawn independently of each other,
    and a cell counts as often as both its seed and its image were drawn. For ten seeds and more: where trainings differ
    by more than images, five of them cover 88 % where 95 % are meant, and `over_trainings` 95 to 97 % at any number,
    so that no study draws trainings. Images are drawn as `resampled_means` draws them: two calls are paired.
    """
    seeds, images = values.shape[:2]
    rest = values.shape[2:]
    beside = np.moveaxis(values, 0, 1).reshape(images, -1)
    means = resampled_means(beside, resamples, seed).reshape(1 + resamples, seeds, -1)
    drawn = np.random.default_rng([seed, seeds]).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    weights = np.concatenate([np.full((1, seeds), 1 / seeds), drawn])
    return np.einsum("rs,rsk->rk", weights, means).reshape(1 + resamples, *rest)


def mean_coverage(seeds: int, spread: float, tables: int, resamples: int, seed: int) -> dict[str, Any]:
    """Cover the mean of one tokenizer by the mean of some trainings' measurements, no less than by chance."""
    from scipy import stats

    inside, widths = [], []
    for number in range(tables):
        values = _trainings(np.random.default_rng([seed, seeds, number]), 1, seeds, spread=spread)
        means = _means(values, resamples, number)[:, 0]
        found = mean_measurement([_measured("mean", each, values.shape[2]) for each in means.T])
        inside.append(found.low <= 0 <= found.high)
        widths.append((found.high - found.low) / 2)
    covered = _covered(inside, widths)
    lowest = float(stats.binom.ppf(1 - SURE, tables, CONFIDENCE)) / tables
    return covered | {"lowest": lowest, "within": covered["coverage"] >= lowest}


def _covered(inside: Sequence[bool], widths: Sequence[float]) -> dict[str, Any]:
    covered = float(np.mean(inside))
    half_width = float(np.median(widths))
    within = COVERED[0] <= covered <= COVERED[1]
    return {"intervals": len(inside), "coverage": covered, "half_width": half_width, "within": within}


def simulate(tables: int, resamples: int, seed: int) -> dict[str, Any]:
    """Return the rates of all cases and the coverage of all intervals, as the kept json has them."""
    nulls = {name: null_rates(case, tables, resamples, seed) for name, case in tqdm(CASES.items(), desc="cases")}
    covers = {
        f"{seeds} seeds, spread {spread:g}, pooled over {1 + COMPARISONS} variants": pooled_coverage(
            seeds, spread, tables, resamples, seed
        )
        for seeds in (2, 3, 4)
        for spread in SPREADS
    }

    def levels(each: Iterable[tuple[Method, int, float]]) -> dict[str, Any]:
        return {
            f"{seeds} seeds, spread {spread:g}, {method}": level_coverage(
                method, seeds, spread, LEVELS * tables, resamples, seed
            )
            for method, seeds, spread in tqdm(list(each), desc="levels")
        }

    methods: tuple[tuple[Method, int], ...] = (("t", 5), ("t", 10), ("pigeonhole", 10))
    covers |= levels((method, seeds, spread) for method, seeds in methods for spread in SPREADS)
    means = {
        f"{seeds} seeds, spread {spread:g}": mean_coverage(seeds, spread, LEVELS * tables, resamples, seed)
        for seeds, spread in tqdm(list(product((2, 3), SPREADS)), desc="means")
    }
    # Why seeds are pooled over variants where they are few, and not drawn: alone, Student's t is wider than it need be,
    # and the pigeonhole bootstrap too narrow.
    beside = levels((("t", 3, SPREADS[0]), ("t", 3, SPREADS[1]), ("pigeonhole", 5, SPREADS[1])))
    return {
        "tables": tables,
        "resamples": resamples,
        "seed": seed,
        "null": nulls,
        "coverage": covers,
        "coverage of means": means,
        "coverage beside": beside,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, and write the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=path, help="file for the json; by default it is printed only")
    parser.add_argument("--tables", type=int, default=400, help="of each case")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if arguments.output:
        require_own(arguments.output, b"coverage of means")
    found = simulate(arguments.tables, arguments.resamples, arguments.seed)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if arguments.output:
        write_whole(arguments.output, text.encode())
    kinds = ("null", "coverage", "coverage of means")
    bad = [name for kind in kinds for name, each in found[kind].items() if not each["within"]]
    if bad:
        raise DataError(f"expected rates and coverage within their limits, found others for {', '.join(bad)}")


if __name__ == "__main__":
    run_command(main)
