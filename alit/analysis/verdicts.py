"""How measurements become a verdict: one outcome per measurement, one verdict per column of a claim.

Of a measurement that expects a difference:

- supported: the interval lies beyond the bound, on the claimed side, and the effect is not negligible.
- equivalent: negligible; within the margin around the bound by two one-sided tests at 1 - confidence each (TOST).
- contradicted: clearly on the other side, and not negligible.
- inconclusive: none of these.

Of one that expects equivalence: supported by TOST; contradicted clearly outside the margin; inconclusive.

"Equivalent" and "contradicted" are corrected by Holm's step-down over the deciding measurements of a claim's column,
so that one of forty is not wrong by chance. "Supported" of one measurement is not, because a claim is supported only by
all of them, which makes a false "supported" rarer and not more frequent; "partly supported" and "mixed" take those that
survive Holm.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from alit.analysis.inference import holm
from alit.analysis.measurements import COLUMNS, Column, Gate, Measurement, Outcome

Verdict = Literal[
    "supported", "partly supported", "mixed", "contradicted", "inconclusive", "not measurable", "no control"
]
VERDICTS: tuple[Verdict, ...] = (
    "supported", "partly supported", "mixed", "contradicted", "inconclusive", "not measurable", "no control"
)  # fmt: skip
SYMBOLS: dict[str, str] = {  # of verdicts and outcomes, so that color is never the only difference
    "supported": "●",
    "partly supported": "◐",
    "mixed": "◪",
    "contradicted": "✖",
    "equivalent": "=",
    "inconclusive": "○",
    "not measurable": "–",
    "no control": "",
}


def marked(verdict: str) -> str:
    """Return a verdict or an outcome with its symbol."""
    return f"{SYMBOLS.get(verdict, '')} {verdict}".strip()


class Judgment(NamedTuple):
    """A verdict, and why."""

    verdict: Verdict
    reason: str


class Judged(NamedTuple):
    """A claim's measurements with their outcomes, and the verdict of each column."""

    measurements: tuple[Measurement, ...]
    columns: dict[Column, Judgment]


def judge_columns(
    measurements: Sequence[Measurement], missing: dict[Column, Sequence[str]], gates: Sequence[Gate] = ()
) -> Judged:
    """Reach the outcome of each measurement and the verdict of each column.

    Args:
        measurements: of one claim, of both columns; outcomes that they have already are reached again.
        missing: for each column, what could not be measured, and why.
        gates: what the instruments must show. A gate that fails takes the measurements that it guards out of the
            verdict, and the reason says so; one that guards the whole claim makes both columns not measurable.
    """
    failed = [each for each in gates if not each.passes]
    closed = "; ".join(each.failure for each in failed if not each.guards)
    shown = {id(part): part for part in measurements}
    columns: dict[Column, Judgment] = {}
    for column in COLUMNS:
        parts = [part for part in measurements if part.decides and part.column == column]
        guarded = [each for each in failed if any(each.guards_measurement(part.name) for part in parts)]
        used = [part for part in parts if not any(each.guards_measurement(part.name) for each in guarded)]
        found = outcomes(used)
        shown |= {id(part): replace(part, outcome=outcome) for part, outcome in zip(used, found, strict=True)}
        shown |= {id(part): replace(part, outcome=None) for part in parts if part not in used}
        words = [*missing.get(column, ()), *dict.fromkeys(each.failure for each in guarded)]
        columns[column] = Judgment("not measurable", closed) if closed else column_verdict(used, found, words)
    return Judged(tuple(shown[id(part)] for part in measurements), columns)


def outcomes(parts: Sequence[Measurement]) -> tuple[Outcome, ...]:
    """Return the outcome of each deciding measurement of one column of a claim."""
    against, equivalent = (
        holm([part.p_against for part in parts]),
        holm([part.p_equivalent for part in parts]),
    )
    return tuple(_outcome(*each) for each in zip(parts, against, equivalent, strict=True))


def _outcome(part: Measurement, against: float, equivalent: float) -> Outcome:
    """Return one outcome, from the adjusted p of the contrary and of equivalence."""
    tail, error = (1 - part.confidence) / 2, 1 - part.confidence
    if not part.has_interval:
        return "inconclusive"
    if part.expects == "equivalence":
        return "supported" if part.p_for < error else "contradicted" if against < tail else "inconclusive"
    if part.p_equivalent < error:  # negligible by itself: neither support nor contradiction, whatever Holm says
        return "equivalent" if equivalent < error else "inconclusive"
    assert part.bound is not None
    if part.low > part.bound if part.side == "above" else part.high < part.bound:
        return "supported"
    return "contradicted" if against < tail else "inconclusive"


def column_verdict(parts: Sequence[Measurement], found: Sequence[Outcome], missing: Sequence[str] = ()) -> Judgment:
    """Return the verdict of one column from the outcomes of its deciding measurements.

    Args:
        parts: the measurements that decide.
        found: their outcomes.
        missing: deciding parts that could not be measured; they keep a claim from "supported".
    """
    if not parts:
        return Judgment("not measurable", "; ".join(missing) or "nothing to measure it on")
    adjusted = holm([part.p_for for part in parts])
    levels = [1 - part.confidence if part.expects == "equivalence" else (1 - part.confidence) / 2 for part in parts]
    survives = any(
        outcome == "supported" and p < level for outcome, p, level in zip(found, adjusted, levels, strict=True)
    )
    against = any(outcome in ("contradicted", "equivalent") for outcome in found)
    if all(outcome == "supported" for outcome in found) and not missing:
        return Judgment("supported", _words(parts, found, missing))
    verdict: Verdict = "mixed" if survives and against else "contradicted" if against else "inconclusive"
    if survives and not against:
        verdict = "partly supported"
    return Judgment(verdict, _words(parts, found, missing))


def _words(parts: Sequence[Measurement], found: Sequence[Outcome], missing: Sequence[str]) -> str:
    """Say how many measurements have which outcome, and name those that are not supported."""
    said = []
    for kind in ("supported", "contradicted", "equivalent", "inconclusive"):
        these = [part for part, outcome in zip(parts, found, strict=True) if outcome == kind]
        if not these:
            continue
        count = f"all {len(parts)}" if len(these) == len(parts) > 1 else f"{len(these)} of {len(parts)}"
        words = f"{count} {kind}" if len(parts) > 1 else kind
        said.append(words if kind == "supported" else f"{words} ({_listed(these)})")
        if kind == "inconclusive":
            said.append(f"open with {min(part.images for part in these)} images")
            undefined = [part for part in these if not part.has_interval]
            said += [f"some resamples leave {_listed(undefined)} undefined"] if undefined else []
    return "; ".join([*said, *(f"not measured: {reason}" for reason in missing)])


def _listed(parts: Sequence[Measurement], most: int = 3) -> str:
    names = ", ".join(part.name for part in parts[:most])
    return names if len(parts) <= most else f"{names} and {len(parts) - most} more"
