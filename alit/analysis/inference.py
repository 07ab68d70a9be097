"""Statistics that the ledger and the studies share: tests, trends, intervals over images and trainings, power.

Samples are bootstrap samples as in `alit.analysis.bootstrap`: (1 + r, ...), the value first, then its resamples.

A p-value follows from a value and its interval, as Altman and Bland (BMJ 343:d2304, 2011) read one from the other: the
statistic is taken as normal on each side of its value, with the spread that the interval has on that side. A p is below
(1 - confidence) / 2 exactly where the interval excludes the point that is tested, and whoever has a ledger can compute
it again. Shares of resamples would end at 1 / (1 + resamples), too coarse for a correction over dozens of tests.

Where an interval is over a few trainings as well, the part of it that is theirs is a Student's t interval, whose tails
are heavier than a normal's: p is then the level at which the two parts, put together as the interval has them, just
reach the point. One Student's t for the whole, with degrees of freedom by Welch and Satterthwaite, does not do: with
two trainings that differ ten times as much as images, a p below 0.0025 comes four times as often as it may.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from alit.analysis.bootstrap import Estimate

Side = Literal["above", "below"]
LEAST_P = 1e-6  # the tails of an interval say nothing finer


class TrainingStandardError(NamedTuple):
    """The standard error of a value that trainings alone give, and the degrees of freedom that it rests on."""

    error: float  # in the statistic's units
    degrees: float

    def half_width(self, confidence: float) -> float:
        """Return half of the Student's t interval of the trainings alone."""
        from scipy.special import stdtrit  # slow to import, as all of scipy

        return float(stdtrit(self.degrees, 0.5 + confidence / 2)) * self.error

    def share(self, half_width: float, confidence: float) -> float:
        """Return which share of the square of an interval's half-width is the trainings', 0 to 1."""
        return min(1.0, (self.half_width(confidence) / half_width) ** 2) if half_width > 0 else 0.0


def p_beyond(
    found: Estimate, point: float, side: Side, confidence: float, trainings: TrainingStandardError | None = None
) -> float:
    """Return the one-sided p of a true value on `side` of `point`, at least `LEAST_P`; 1 where there is no interval.

    Args:
        found: the value and its interval.
        point: that is tested.
        side: of the point on which the value is claimed to be.
        confidence: of the interval.
        trainings: the part of the interval that trainings have; without it, all of it is taken as normal.
    """
    if math.isnan(found.low) or math.isnan(found.high):
        return 1.0
    distance, spread = found.value - point, found.value - found.low
    if side == "below":
        distance, spread = -distance, found.high - found.value
    if spread <= 0:  # a skewed interval that leaves its value out
        spread = (found.high - found.low) / 2
    if spread <= 0:
        return LEAST_P if distance > 0 else 1.0
    if trainings is not None and (share := trainings.share(spread, confidence)) > 0:
        p = _p_of_two_parts(abs(distance) / spread, confidence, share, trainings.degrees)
        return p if distance > 0 else 1 - p
    z = distance / spread * NormalDist().inv_cdf(0.5 + confidence / 2)
    return max(LEAST_P, math.erfc(z / math.sqrt(2)) / 2)


def _p_of_two_parts(distance: float, confidence: float, share: float, degrees: float) -> float:
    """Return the one-sided level at which an interval of a normal and a Student's t part ends so far from its value.

    Args:
        distance: in half-widths of the interval of the given confidence, 0 or more.
        confidence: of that interval.
        share: of the square of its half-width that is Student's t.
        degrees: of freedom of this part.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri, stdtrit

    tail = (1 - confidence) / 2

    def beyond(log_level: float) -> float:
        level = math.exp(log_level)
        student, normal = stdtrit(degrees, level) / stdtrit(degrees, tail), ndtri(level) / ndtri(tail)
        return float(share * student**2 + (1 - share) * normal**2) - distance**2

    if beyond(math.log(LEAST_P)) <= 0:
        return LEAST_P
    if distance <= 0:
        return 0.5
    return math.exp(brentq(beyond, math.log(LEAST_P), math.log(0.5)))  # type: ignore[arg-type]


def tost(
    found: Estimate, bound: float, margin: float, confidence: float, trainings: TrainingStandardError | None = None
) -> float:
    """Return the p of equivalence: the larger of two one-sided tests that the value is within `margin` of `bound`.

    Schuirmann (1987). It is below 1 - confidence where the interval at 2 confidence - 1 (90 % for 95 %) lies inside.
    """
    above = p_beyond(found, bound - margin, "above", confidence, trainings)
    return max(above, p_beyond(found, bound + margin, "below", confidence, trainings))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down (1979), in the order given; what is nan stays nan and counts not.

    `statsmodels.stats.multitest.multipletests` gives the same and collects garbage at each call, 0.1 s of them.
    """
    values = np.array(p_values, dtype=np.float64)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # nan sorts last
    steps = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    values[order] = np.minimum(steps, 1)
    return values


def trend(samples: np.ndarray, positions: Sequence[float] | None = None) -> np.ndarray:
    """Return (1 + r,) the least-squares slope over ordered steps of samples (1 + r, k): one test of "each step".

    The slope weighs the steps as Page's L does, by their order, but on the statistic itself: it has a size with an
    interval, serves distances between sets of images, which have no value per image, and takes whatever the resamples
    are over. `scipy.stats.page_trend_test` needs a value per image and gives a p alone, which with hundreds of images
    is far below any level for trends of no interest.

    Args:
        samples: a statistic at k steps in their order.
        positions: of the steps; by default 0, 1, ... k - 1, so that the slope is per step.
    """
    places = np.arange(samples.shape[1], dtype=np.float64) if positions is None else np.asarray(positions, np.float64)
    centred = places - places.mean()
    return samples @ (centred / (centred @ centred))


def simultaneous_interval(samples: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high), each (k,), of samples (1 + r, k): all k values lie inside at once with this confidence.

    Max-t: the largest studentized deviation of a resample gives one factor for all standard errors (Westfall and Young
    1993; Mandel and Betensky 2008).
    """
    deviations = samples[1:] - samples[0]
    errors = deviations.std(axis=0, ddof=1)
    scaled = np.divide(np.abs(deviations), errors, out=np.zeros_like(deviations), where=errors > 0)
    factor = np.quantile(scaled.max(axis=1), confidence)
    return samples[0] - factor * errors, samples[0] + factor * errors


class SeedVariance(NamedTuple):
    """Variance between trainings that differ in their seed alone, and the degrees of freedom that it rests on."""

    variance: np.ndarray  # (...)
    degrees: int


def pooled_seed_variance(groups: Sequence[np.ndarray]) -> SeedVariance:
    """Return the variance between seeds, pooled over variants: values (s_v, ...) each, on one scale, such as a log.

    Two or three seeds of one variant say next to nothing about their spread; those of ten variants together do, if they
    spread alike. Give each variant's own values: differences from one reference share its trainings, and have fewer
    degrees of freedom than they are counted for.

    Raises:
        ValueError: no variant has two seeds.
    """
    several = [group for group in groups if len(group) > 1]
    if not several:
        raise ValueError("expected a variant with two seeds or more, found none")
    degrees = sum(len(group) - 1 for group in several)
    squares = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in several)
    return SeedVariance(np.asarray(squares) / degrees, degrees)


def over_trainings(samples: np.ndarray, seed: int, between: SeedVariance | None = None) -> np.ndarray:
    """Return (1 + r, ...) means over trainings of samples (1 + r, s, ...), with their spread in the resamples.

    A few trainings are too few to draw from. Each resample of the images is moved instead by a draw from Student's t,
    times the standard error of a mean over s trainings. A p that is read from the interval of such samples needs the
    `TrainingStandardError` too: the interval alone does not tell how heavy its tails are.

    Args:
        samples: a statistic of each training, resampled over images.
        seed: of the draws.
        between: pooled variance between seeds, of the same scale; without it, that of these trainings alone with s - 1
            degrees of freedom. A single training without it leaves that part out: its interval is over images alone.
    """
    count = samples.shape[1]
    means = samples.mean(axis=1)
    if between is None and count > 1:
        between = SeedVariance(samples[0].var(axis=0, ddof=1), count - 1)
    if between is not None:
        error = np.sqrt(between.variance / count)
        draws = np.random.default_rng([seed, count]).standard_t(between.degrees, size=len(means) - 1)
        means[1:] += draws.reshape(-1, *[1] * np.ndim(error)) * error
    return means


def required_images(found: Estimate, images: int, effect: float, confidence: float, power: float = 0.8) -> float:
    """Return how many images a one-sided test at (1 - confidence) / 2 needs to show an effect with the given power.

    Args:
        found: the statistic, whose standard error falls with the root of the number of images.
        images: that it was measured on.
        effect: distance of the true value from what is tested, in the statistic's units; 0 takes infinitely many.
        confidence: of the interval of `found`.
        power: probability that the effect is shown.
    """
    normal = NormalDist()
    z = normal.inv_cdf(0.5 + confidence / 2)
    error = (found.high - found.low) / (2 * z)
    if not effect or math.isnan(error):
        return math.inf
    return images * (error * (z + normal.inv_cdf(power)) / effect) ** 2


def required_seeds(spread: float, effect: float, confidence: float, power: float = 0.8) -> float:
    """Return how many trainings show an effect with the given power, by a t-test of their mean; inf above a thousand.

    Args:
        spread: standard deviation between trainings, in the statistic's units.
        effect: distance of the true value from what is tested.
        confidence: as in `required_images`.
        power: probability that the effect is shown.
    """
    from scipy import stats

    if math.isnan(spread) or not effect:
        return math.inf
    for count in range(2, 1001):
        critical = stats.t.ppf(0.5 + confidence / 2, count - 1)
        shift = abs(effect) / spread * math.sqrt(count) if spread else math.inf
        if stats.nct.sf(critical, count - 1, shift) >= power if math.isfinite(shift) else True:
            return count
    return math.inf
