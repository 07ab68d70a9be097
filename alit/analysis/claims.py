"""Claims, their measurements, and how a verdict follows from an interval.

The rule, the same for every claim: a measurement *meets* its criterion when its value does, and *clearly* when the
unfavorable end of its interval does too.

- holds: every deciding measurement clearly meets its criterion.
- does not hold: some deciding measurement does not. An interval that straddles the criterion counts here, because a
  ledger whose "holds" can be chance is worth nothing; the reason then says that the question is open at this number
  of images, so that "refuted" and "not shown" can be told apart.
- not measurable here: nothing that decides could be measured, or what could be is met but a part is missing.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import Estimate, estimate
from alit.errors import NotMeasurable

D = TypeVar("D")  # the inputs of a claim
Verdict = Literal["holds", "does not hold", "not measurable here"]
# "Near-maximum" is not defined in the paper. Its own Tab. 1 has made 86 % of the way from the FID at 32 tokens to the
# one at 256 when it stands at 160 tokens, 62.5 %: a stricter reading than 85 % would refute the paper with itself.
NEAR_MAXIMUM = 0.85
TOLERANCE = 1e-4  # relative; a ledger keeps six digits
DISTANCES = ("frechet", "kernel")  # in the name of a measurement: how ledgers without `needs_features` tell it


@dataclass(frozen=True)
class Measurement:
    """One number that bears on a claim, with a 95 % (or the profile's) interval and its criterion."""

    name: str  # short and stable: a key of claims.json
    statistic: str  # in words, with units
    value: float
    low: float
    high: float
    images: int
    bound: float | None = None  # None: reported for comparison, decides nothing
    side: Literal["above", "below"] = "above"  # where the claim wants the value, strictly
    needs_features: bool = False  # computed from features, which a kept run leaves behind: not to be checked from it

    @property
    def margin(self) -> float:
        """Distance from the bound to the unfavorable end of the interval; positive is clearly met."""
        if self.bound is None:
            return math.inf
        if not self.has_interval:
            return -math.inf
        return self.low - self.bound if self.side == "above" else self.bound - self.high

    @property
    def has_interval(self) -> bool:
        """Whether the statistic is defined in every resample; a share of an improvement is not where there is none."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def outcome(self) -> Literal["met", "straddles", "missed"]:
        """Clearly met; not decided by these images; or the whole interval on the wrong side."""
        if self.bound is None or self.margin > 0:
            return "met"
        if not self.has_interval:
            return "straddles"
        best = self.high - self.bound if self.side == "above" else self.bound - self.low
        return "straddles" if best > 0 else "missed"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what became of it here.

    `statistic`, `value`, `low` and `high` are those of the weakest deciding measurement, the one on which the verdict
    hangs; all measurements are kept with it.
    """

    id: str
    sentence: str
    source: str  # section, figures and tables of the paper
    paper: str  # what the paper reports, in one phrase
    statistic: str
    value: float
    low: float
    high: float
    criterion: str  # fixed in code, in words
    verdict: Verdict
    reason: str
    measurements: tuple[Measurement, ...] = ()
    checkpoint: str = ""  # whose weights were measured, as `alit.tokenizer.origin.Origin.describe` has it


@dataclass(frozen=True)
class Statement:
    """The fixed part of a claim: what is claimed, where, and what would satisfy it."""

    id: str
    sentence: str
    source: str
    paper: str
    criterion: str

    def judge(self, measurements: Sequence[Measurement], missing: Sequence[str] = ()) -> Claim:
        """Reach the verdict; `missing` names deciding parts that this run cannot measure, and why."""
        deciding = [part for part in measurements if part.bound is not None]
        if not deciding:
            nowhere = "; ".join(missing) or "nothing to measure it on"
            return self._claim("not measured", Estimate(math.nan, math.nan, math.nan), measurements, nowhere)
        weakest = min(deciding, key=lambda part: part.margin)
        name = weakest.statistic if len(deciding) == 1 else f"{weakest.statistic} (weakest of {len(deciding)})"
        value = Estimate(weakest.value, weakest.low, weakest.high)
        if weakest.outcome != "met":
            return self._claim(name, value, measurements, _why_not(deciding), "does not hold")
        if missing:
            return self._claim(name, value, measurements, f"what is measured meets it, but {'; '.join(missing)}")
        words = "the interval lies" if len(deciding) == 1 else f"all {len(deciding)} intervals lie"
        return self._claim(name, value, measurements, f"{words} on the right side of the criterion", "holds")

    def _claim(
        self,
        statistic: str,
        value: Estimate,
        measurements: Sequence[Measurement],
        reason: str,
        verdict: Verdict = "not measurable here",
    ) -> Claim:
        return Claim(
            id=self.id,
            sentence=self.sentence,
            source=self.source,
            paper=self.paper,
            statistic=statistic,
            value=value.value,
            low=value.low,
            high=value.high,
            criterion=self.criterion,
            verdict=verdict,
            reason=reason,
            measurements=tuple(measurements),
        )


def assesses(statement: Statement) -> Callable[[Callable[[D], Claim]], Callable[[D], Claim]]:
    """Decorate the function that assesses a claim: where it raises `NotMeasurable`, that becomes the verdict."""

    def decorate(assess: Callable[[D], Claim]) -> Callable[[D], Claim]:
        @wraps(assess)
        def assess_or_explain(data: D) -> Claim:
            try:
                return assess(data)
            except NotMeasurable as reason:
                return statement.judge([], missing=[str(reason)])

        return assess_or_explain

    return decorate


def measured(
    name: str,
    statistic: str,
    samples: np.ndarray,
    confidence: float,
    images: int,
    bound: float | None = None,
    side: Literal["above", "below"] = "above",
    *,
    needs_features: bool = False,
) -> Measurement:
    """Make a measurement of bootstrap samples (1 + r,)."""
    value, low, high = estimate(samples, confidence)
    return Measurement(name, statistic, value, low, high, images, bound, side, needs_features)


def claims_table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return the closing table of a notebook: claim, paper, here, verdict."""
    rows = [
        {
            "claim": f"{claim.id}: {claim.sentence}",
            "paper": f"{claim.paper} ({claim.source})",
            "here": _here(claim),
            "verdict": f"{claim.verdict}: {claim.reason}",
        }
        for claim in claims
    ]
    return pd.DataFrame(rows).set_index("claim").rename_axis(index=None, columns="claim")  # one header row


def ledger_to_json(claims: Iterable[Claim]) -> str:
    """Write claims as nested json, by id, numbers to six digits: the same claims give the same bytes."""
    ledger = {}
    for claim in claims:
        content = asdict(claim)
        parts = content.pop("measurements")
        content["measurements"] = {part.pop("name"): part for part in parts}
        ledger[content.pop("id")] = content
    return json.dumps(_plain(ledger), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def ledger_from_json(text: str) -> tuple[Claim, ...]:
    """Read claims back, in the order written; unmeasured numbers come back as nan.

    Ledgers written before `needs_features` was a field name the distance in the name of each such measurement.
    """
    claims = []
    for name, content in json.loads(text).items():
        parts = content.pop("measurements")
        for key, part in parts.items():
            part.setdefault("needs_features", any(distance in key for distance in DISTANCES))
        measurements = tuple(Measurement(name=key, **_numbers(part)) for key, part in parts.items())
        claims.append(Claim(id=name, measurements=measurements, **_numbers(content)))
    return tuple(claims)


def _here(claim: Claim) -> str:
    if math.isnan(claim.value):
        return claim.statistic
    return f"{claim.statistic}: {claim.value:.3g} [{claim.low:.3g}, {claim.high:.3g}]"


def _why_not(deciding: Sequence[Measurement]) -> str:
    failed = [part for part in deciding if part.outcome != "met"]
    missed = [part for part in failed if part.outcome == "missed"]
    share = f"{len(failed)} of {len(deciding)} measurements fail" if len(deciding) > 1 else "the measurement fails"
    if missed:
        return f"{share}; the whole interval is on the wrong side for {_listed(missed)}"
    images = min(part.images for part in failed)
    undefined = [part for part in failed if not part.has_interval]
    if undefined:
        return f"{share}: not shown, since some resamples of {images} images leave {_listed(undefined)} undefined"
    return f"{share}: not shown, since the interval straddles the criterion with {images} images for {_listed(failed)}"


def _listed(parts: Sequence[Measurement], most: int = 3) -> str:
    names = ", ".join(part.name for part in parts[:most])
    return names if len(parts) <= most else f"{names} and {len(parts) - most} more"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _numbers(content: dict) -> dict:
    return {
        key: math.nan if value is None and key in ("value", "low", "high") else value for key, value in content.items()
    }


def recheck(kept: Sequence[Claim], recomputed: Sequence[Claim]) -> list[str]:
    """Return every fault of a kept ledger, one line each; none when it stands.

    Every kept measurement must come out of the tables again, except those computed from features, which are too large
    to keep; and every verdict must follow from the kept measurements.

    Args:
        kept: the ledger as it was written.
        recomputed: the same claims, computed again from the kept tables without features.
    """
    again = {claim.id: claim for claim in recomputed}
    faults = [f"{claim.id}: no such claim" for claim in kept if claim.id not in again]
    faults += [f"{name}: not in the kept ledger" for name in again if name not in {claim.id for claim in kept}]
    for claim in kept:
        if claim.id in again:
            faults += _measurement_faults(claim, again[claim.id]) + _verdict_faults(claim)
    return faults


def _measurement_faults(claim: Claim, again: Claim) -> list[str]:
    new = {part.name: part for part in again.measurements}
    old = {part.name: part for part in claim.measurements}
    faults = [f"{claim.id}: the tables also give {name}" for name in new if name not in old]
    for name, part in old.items():
        if name not in new:
            if not part.needs_features:
                faults.append(f"{claim.id}: the tables do not give {name}")
        elif not _agree(part, new[name]):
            faults.append(
                f"{claim.id}: {name} is {part.value:.6g} [{part.low:.6g}, {part.high:.6g}] in the ledger, "
                f"{new[name].value:.6g} [{new[name].low:.6g}, {new[name].high:.6g}] by the tables"
            )
    return faults


def _agree(one: Measurement, other: Measurement) -> bool:
    numbers = zip((one.value, one.low, one.high), (other.value, other.low, other.high), strict=True)
    close = all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b)) for a, b in numbers
    )
    return close and (one.bound, one.side, one.images) == (other.bound, other.side, other.images)


def _verdict_faults(claim: Claim) -> list[str]:
    """A verdict follows from the measurements, except that a missing part may keep met ones from holding."""
    statement = Statement(claim.id, claim.sentence, claim.source, claim.paper, claim.criterion)
    follows = statement.judge(claim.measurements).verdict
    if claim.verdict == follows or (claim.verdict, follows) == ("not measurable here", "holds"):
        return []
    return [f"{claim.id}: the verdict is '{claim.verdict}', its measurements give '{follows}'"]
