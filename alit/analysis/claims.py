"""Claims: what is said, what decides it, and the verdicts that follow, one for each of two columns.

*As stated*: does the sentence come out, in its own terms. *Under control*: does its interpretation survive a control
that the paper lacks. `alit.analysis.verdicts` has the rule.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Literal, TypeVar

import pandas as pd

from alit.analysis.measurements import COLUMNS, Column, Gate, Measurement
from alit.analysis.numbers import format_estimate
from alit.analysis.verdicts import SYMBOLS, Verdict, judge_columns, marked
from alit.errors import NotMeasurable

D = TypeVar("D")  # the inputs of a claim
# "Near-maximum" is not defined in the paper. Its own Tab. 1 has made 86 % of the way from the FID at 32 tokens to the
# one at 256 when it stands at 160 tokens, 62.5 %: a stricter reading than 85 % would refute the paper with itself.
NEAR_MAXIMUM = 0.85


@dataclass(frozen=True)
class Statement:
    """The fixed part of a claim: what is claimed, where, and what would satisfy it."""

    id: str
    sentence: str
    source: str  # section, figures and tables of the paper
    paper: str  # what the paper reports, in one phrase
    criterion: str  # of the column as stated, fixed in code, in words
    control: str = ""  # question and criterion of the column under control; empty where there is none
    no_control: str = ""  # why there is none
    origin: Literal["paper", "suite"] = "paper"  # who claims it
    margins: str = ""  # smallest effects of interest, and their reasons

    def judge(
        self,
        measurements: Sequence[Measurement],
        missing: Sequence[str] = (),
        *,
        missing_control: Sequence[str] = (),
        gates: Sequence[Gate] = (),
        headline: Measurement | None = None,
    ) -> "Claim":
        """Reach the verdict of each column.

        Args:
            measurements: all that bears on the claim, of both columns; what has no bound decides nothing.
            missing: deciding parts of the column as stated that this run cannot measure, and why.
            missing_control: the same of the column under control.
            gates: what the instruments must show first.
            headline: the effect in one number with its interval, pooled where there are several measurements; by
                default the deciding measurement as stated, where there is one only.

        Raises:
            ValueError: two measurements have the same name, or one is of a control that the statement does not have.
        """
        self._check(measurements)
        judged = judge_columns(measurements, {"stated": missing, "control": missing_control}, gates)
        stated, control = judged.columns["stated"], judged.columns["control"]
        deciding = [part for part in judged.measurements if part.decides and part.column == "stated"]
        if headline is None and len(deciding) == 1:
            headline = deciding[0]
        return Claim(
            **{field.name: getattr(self, field.name) for field in fields(Statement)},
            verdict=stated.verdict,
            reason=stated.reason,
            control_verdict=control.verdict if self.control else "no control",
            control_reason=control.reason if self.control else self.no_control,
            headline=headline,
            measurements=judged.measurements,
            gates=tuple(gates),
            missing=tuple(missing),
            missing_control=tuple(missing_control),
        )

    def _check(self, measurements: Sequence[Measurement]) -> None:
        names = [part.name for part in measurements]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.id}: expected one measurement of each name, found several of {', '.join(twice)}")
        if not self.control and any(part.column == "control" for part in measurements):
            raise ValueError(f"{self.id}: expected words of the control that is measured, found none in the statement")


@dataclass(frozen=True, kw_only=True)
class Claim(Statement):
    """A statement and what became of it here."""

    verdict: Verdict  # as stated
    reason: str
    control_verdict: Verdict
    control_reason: str
    headline: Measurement | None = None  # the effect in one number
    measurements: tuple[Measurement, ...] = ()
    gates: tuple[Gate, ...] = ()
    missing: tuple[str, ...] = ()  # deciding parts that could not be measured
    missing_control: tuple[str, ...] = ()
    checkpoint: str = ""  # whose weights were measured, as `alit.tokenizer.origin.Origin.describe` has it

    def verdict_of(self, column: Column) -> Verdict:
        """Return the verdict of one column."""
        return self.verdict if column == "stated" else self.control_verdict

    @property
    def here(self) -> str:
        """What was measured, in one number with its interval where there is one."""
        if self.headline is None:
            return self.statistic
        return f"{self.statistic}: {format_estimate(self.value, self.low, self.high)}"

    @property
    def statistic(self) -> str:
        """What the headline measures, in words; where there is none, how the measurements came out."""
        if self.headline is not None:
            return self.headline.statistic
        outcomes = [part.outcome for part in self.measurements if part.decides and part.column == "stated"]
        counts = [f"{outcomes.count(name)} {name}" for name in SYMBOLS if name in outcomes]
        return f"no single effect; measurements: {', '.join(counts)}" if counts else "not measured"

    @property
    def value(self) -> float:
        """The headline; nan where there is none."""
        return math.nan if self.headline is None else self.headline.value

    @property
    def low(self) -> float:
        """Lower end of the headline's interval."""
        return math.nan if self.headline is None else self.headline.low

    @property
    def high(self) -> float:
        """Upper end of the headline's interval."""
        return math.nan if self.headline is None else self.headline.high


def assesses(statement: Statement) -> Callable[[Callable[[D], Claim]], Callable[[D], Claim]]:
    """Decorate the function that assesses a claim: where it raises `NotMeasurable`, that becomes the verdict."""

    def decorate(assess: Callable[[D], Claim]) -> Callable[[D], Claim]:
        @wraps(assess)
        def assess_or_explain(data: D) -> Claim:
            try:
                return assess(data)
            except NotMeasurable as reason:
                return statement.judge([], [str(reason)], missing_control=[str(reason)])

        return assess_or_explain

    return decorate


def claim_order(name: str) -> tuple[bool, int]:
    """Return where a claim's id stands in a ledger: the paper's first (C1), then the suite's own (A1), by number."""
    return not name.startswith("C"), int(name[1:])


def claims_table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return the closing table of a notebook: claim, paper, here, and the two verdicts."""
    rows = [
        {
            "claim": f"{claim.id}: {claim.sentence}",
            "paper": f"{claim.paper} ({claim.source})",
            "here": claim.here,
            COLUMNS["stated"]: _judged(claim.verdict, claim.reason),
            COLUMNS["control"]: _judged(claim.control_verdict, claim.control_reason),
        }
        for claim in claims
    ]
    return pd.DataFrame(rows).set_index("claim").rename_axis(index=None, columns="claim")  # one header row


def _judged(verdict: Verdict, reason: str) -> str:
    return marked(verdict) if reason in ("", verdict) else f"{marked(verdict)}: {reason}"
