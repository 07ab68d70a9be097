"""Measurements: one number each with its interval, and what the interval says against the bound that a claim sets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alit.analysis.bootstrap import Estimate, estimate
from alit.analysis.inference import Side, TrainingStandardError, p_beyond, simultaneous_interval, tost
from alit.analysis.numbers import format_estimate

Column = Literal["stated", "control"]
COLUMNS: Mapping[Column, str] = {"stated": "as stated", "control": "under control"}  # in words, in their order
Expectation = Literal["difference", "equivalence"]
Outcome = Literal["supported", "contradicted", "equivalent", "inconclusive"]


@dataclass(frozen=True)
class Measurement:
    """One number that bears on a claim, with its interval and its criterion.

    `expects="difference"`: the claim wants the true value on `side` of `bound`. Non-inferiority is such a claim, with
    the loss that is still acceptable as its bound and no margin. `expects="equivalence"`: the claim wants the value
    within `margin` of `bound`, on either side.
    """

    name: str  # short and stable: a key of claims.json
    statistic: str  # in words, with units
    value: float
    low: float
    high: float
    images: int
    bound: float | None = None  # None: reported for comparison, decides nothing
    side: Side = "above"  # where the claim wants the value, strictly
    column: Column = "stated"
    margin: float | None = (
        None  # smallest effect of interest, in the statistic's units: within bound +/- margin is none
    )
    expects: Expectation = "difference"
    trainings: int = 1  # of the tokenizer, that the interval is over; 1: the number is about one training
    training_spread: float = math.nan  # standard deviation of the value between trainings; nan where it is not known
    training_error: float = math.nan  # standard error of the value that trainings give; nan where the interval has none
    degrees: float | None = None  # of freedom that this error rests on; None: the interval is taken as normal
    confidence: float = 0.95  # of the interval
    outcome: Outcome | None = None  # set when the claim is judged, since it depends on the claim's other measurements

    def __post_init__(self) -> None:
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"{self.name}: expected a margin above 0, found {self.margin}")
        if self.expects == "equivalence" and self.margin is None:
            raise ValueError(f"{self.name}: expected a margin of equivalence, found none")

    @property
    def has_interval(self) -> bool:
        """Whether the statistic is defined in every resample; a share of an improvement is not where there is none."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def decides(self) -> bool:
        """Whether a verdict depends on it."""
        return self.bound is not None

    @property
    def p_for(self) -> float:
        """One-sided p of what the claim wants: of the claimed side, or of equivalence; nan without a bound."""
        if self.bound is None:
            return math.nan
        return self.p_equivalent if self.expects == "equivalence" else self._p_beyond(self.bound, self.side)

    @property
    def p_against(self) -> float:
        """One-sided p of the contrary: of the other side, or of a value outside the margin; nan without a bound."""
        if self.bound is None:
            return math.nan
        if self.expects == "difference":
            return self._p_beyond(self.bound, "below" if self.side == "above" else "above")
        assert self.margin is not None
        above = self._p_beyond(self.bound + self.margin, "above")
        return min(above, self._p_beyond(self.bound - self.margin, "below"))

    @property
    def p_equivalent(self) -> float:
        """P that the value is within `margin` of `bound`, by two one-sided tests; nan without either."""
        if self.bound is None or self.margin is None:
            return math.nan
        return tost(self.estimate, self.bound, self.margin, self.confidence, self._trainings)

    @property
    def estimate(self) -> Estimate:
        """Value and interval."""
        return Estimate(self.value, self.low, self.high)

    @property
    def training_share(self) -> float:
        """Which share of the square of the interval's half-width trainings have, 0 to 1; 0 where it is not known."""
        half_width = (self.high - self.low) / 2
        return 0.0 if self._trainings is None else self._trainings.share(half_width, self.confidence)

    @property
    def _trainings(self) -> TrainingStandardError | None:
        return TrainingStandardError(self.training_error, self.degrees) if self.degrees is not None else None

    def _p_beyond(self, point: float, side: Side) -> float:
        return p_beyond(self.estimate, point, side, self.confidence, self._trainings)


def measured(
    name: str,
    statistic: str,
    samples: np.ndarray,
    confidence: float,
    images: int,
    bound: float | None = None,
    side: Side = "above",
    *,
    column: Column = "stated",
    margin: float | None = None,
    expects: Expectation = "difference",
    trainings: int = 1,
    training_spread: float = math.nan,
    training_error: TrainingStandardError | None = None,
) -> Measurement:
    """Make a measurement of bootstrap samples (1 + r,): the value, then its resamples.

    Samples of `alit.analysis.inference.over_trainings` come with the `training_error` that was drawn into them.
    """
    value, low, high = estimate(samples, confidence)
    return Measurement(
        name=name,
        statistic=statistic,
        value=value,
        low=low,
        high=high,
        images=images,
        bound=bound,
        side=side,
        column=column,
        margin=margin,
        expects=expects,
        trainings=trainings,
        training_spread=training_spread,
        training_error=math.nan if training_error is None else training_error.error,
        degrees=None if training_error is None else training_error.degrees,
        confidence=confidence,
    )


def measured_together(
    names: Mapping[str, str], samples: np.ndarray, confidence: float, images: int
) -> list[Measurement]:
    """Make measurements for comparison of samples (1 + r, k) whose intervals hold for all k at once.

    Args:
        names: each measurement's name and its statistic in words, in the order of the k columns.
        samples: the values, then their resamples.
        confidence: with which all k true values lie inside.
        images: that each is over.
    """
    lows, highs = simultaneous_interval(samples, confidence)
    return [
        Measurement(name, words, float(value), float(low), float(high), images, confidence=confidence)
        for (name, words), value, low, high in zip(names.items(), samples[0], lows, highs, strict=True)
    ]


def pooled(*samples: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return (1 + r,) the mean of several statistics in one unit, each (1 + r,): the effect that a claim's page shows.

    Statistics of the same images with the same seed stay paired. `weights` are one number per statistic; by default
    each counts the same.
    """
    return np.average(np.stack(samples), axis=0, weights=weights)


@dataclass(frozen=True)
class Gate:
    """What an instrument must show before a claim is put to it: its value clearly on `side` of `bound`."""

    name: str
    statistic: str  # in words, with units
    value: float
    low: float
    high: float
    bound: float
    side: Side = "above"
    guards: tuple[str, ...] = ()  # beginnings of the names of the measurements that need it; (): the whole claim

    @property
    def passes(self) -> bool:
        """Whether the unfavorable end of the interval meets the bound; an undefined interval does not."""
        return self.low > self.bound if self.side == "above" else self.high < self.bound

    @property
    def failure(self) -> str:
        """Why the instrument is not used, in words."""
        number = format_estimate(self.value, self.low, self.high)
        return f"{self.statistic} is {number}, not {self.side} {self.bound:g}"

    def guards_measurement(self, name: str) -> bool:
        """Whether a measurement of this name needs the gate."""
        return not self.guards or name.startswith(self.guards)


def gate(
    name: str,
    statistic: str,
    samples: np.ndarray,
    confidence: float,
    bound: float,
    side: Side = "above",
    guards: tuple[str, ...] = (),
) -> Gate:
    """Make a gate of bootstrap samples (1 + r,)."""
    value, low, high = estimate(samples, confidence)
    return Gate(name, statistic, value, low, high, bound, side, guards)
