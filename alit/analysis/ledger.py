"""The ledger's file, and the check that a kept one follows from the kept tables."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter

from alit.analysis.claims import Claim
from alit.analysis.measurements import COLUMNS, Gate, Measurement
from alit.errors import DataError

TOLERANCE = 1e-4  # relative; a ledger keeps six digits
NUMBERS = ("value", "low", "high", "training_spread", "training_error")  # null in the file where they are not known
DERIVED = ("p_for", "p_against", "p_equivalent")  # written for readers; they follow from the rest


def ledger_to_json(claims: Iterable[Claim]) -> str:
    """Write claims as nested json, by id, numbers to six digits: the same claims give the same bytes."""
    ledger = {}
    for claim in claims:
        content = asdict(claim)
        content["headline"] = None if claim.headline is None else _content(claim.headline)
        for kind in ("gates", "measurements"):
            content[kind] = {part.name: _content(part, named=False) for part in getattr(claim, kind)}
        ledger[content.pop("id")] = content
    return json.dumps(_plain(ledger), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def ledger_from_json(text: str) -> tuple[Claim, ...]:
    """Read claims back, in the order written; unmeasured numbers come back as nan.

    Raises:
        DataError: the text is none that `ledger_to_json` writes, such as a ledger of an earlier version.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected claims as dvc repro writes them, found no JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"expected claims by their names, found {type(content).__name__}")
    return tuple(_claim(name, part) for name, part in content.items())


def _claim(name: str, content: dict[str, Any]) -> Claim:
    try:
        headline = content.pop("headline")
        gates = tuple(
            Gate(name=key, **_numbers(part | {"guards": tuple(part["guards"])}))
            for key, part in content.pop("gates").items()
        )
        parts = tuple(Measurement(name=key, **_numbers(part)) for key, part in content.pop("measurements").items())
        words: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in content.items()}
        head = None if headline is None else Measurement(**_numbers(headline))
        claim = Claim(id=name, headline=head, gates=gates, measurements=parts, **words)
        return TypeAdapter(Claim).validate_json(json.dumps(asdict(claim)), strict=True)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: expected a claim as dvc repro writes it, found another format ({reason})") from error


def _content(part: Measurement | Gate, named: bool = True) -> dict[str, Any]:
    content = asdict(part)
    if not named:
        del content["name"]
    if isinstance(part, Measurement) and part.decides:
        kept = Measurement(**_numbers(_plain(asdict(part))))  # rounded, so that a ledger read back gives the same bytes
        content |= {name: getattr(kept, name) for name in DERIVED}
    return content


def _numbers(content: dict[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in content.items() if key not in DERIVED}
    return {key: math.nan if value is None and key in NUMBERS else value for key, value in known.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def recheck(kept: Sequence[Claim], recomputed: Sequence[Claim]) -> list[str]:
    """Return every fault of a kept ledger, one line each; none when it stands.

    Every kept measurement, gate and headline of both columns, what is missing, and both verdicts must come out of the
    tables again; and every outcome and both verdicts must follow from the kept measurements.

    Args:
        kept: the ledger as it was written.
        recomputed: the same claims, computed again from the kept tables.
    """
    again = {claim.id: claim for claim in recomputed}
    faults = [f"{claim.id}: no such claim" for claim in kept if claim.id not in again]
    faults += [f"{name}: not in the kept ledger" for name in again if name not in {claim.id for claim in kept}]
    for claim in kept:
        if claim.id in again:
            faults += _table_faults(claim, again[claim.id]) + _verdict_faults(claim)
    return faults


def _table_faults(claim: Claim, again: Claim) -> list[str]:
    """Each part of a kept claim comes out of the tables."""
    faults = _part_faults(f"{claim.id}:", claim.measurements, again.measurements) + _headline_faults(claim, again)
    faults += _part_faults(f"{claim.id}: gates:", claim.gates, again.gates)
    for words, kept, found in (
        ("missing as stated", claim.missing, again.missing),
        ("missing under control", claim.missing_control, again.missing_control),
        ("the verdict as stated", (claim.verdict,), (again.verdict,)),
        ("the verdict under control", (claim.control_verdict,), (again.control_verdict,)),
    ):
        if kept != found:
            sides = ("; ".join(each) or "nothing" for each in (kept, found))
            faults.append("{}: {} is '{}' in the ledger, '{}' by the tables".format(claim.id, words, *sides))
    return faults


def _part_faults(where: str, kept: Sequence[Measurement | Gate], found: Sequence[Measurement | Gate]) -> list[str]:
    old, new = ({part.name: part for part in parts} for parts in (kept, found))
    faults = [f"{where} the tables also give {name}" for name in new if name not in old]
    for name, part in old.items():
        if name not in new:
            faults.append(f"{where} the tables do not give {name}")
        elif not _agree(part, new[name]):
            faults.append(f"{where} {name} is {_shown(part)} in the ledger, {_shown(new[name])} by the tables")
    return faults


def _headline_faults(claim: Claim, again: Claim) -> list[str]:
    one, other = _pooled_headline(claim), _pooled_headline(again)
    if one is None or other is None:
        faulty = one is not None or other is not None
        return [f"{claim.id}: only one of ledger and tables has a pooled headline"] if faulty else []
    if _agree(one, other):
        return []
    return [f"{claim.id}: the headline is {_shown(one)} in the ledger, {_shown(other)} by the tables"]


def _pooled_headline(claim: Claim) -> Measurement | None:
    """Return a headline that is none of the claim's measurements."""
    names = {part.name for part in claim.measurements}
    return claim.headline if claim.headline is not None and claim.headline.name not in names else None


def _shown(part: Measurement | Gate) -> str:
    return f"{part.value:.6g} [{part.low:.6g}, {part.high:.6g}]"


def _agree(one: Measurement | Gate, other: Measurement | Gate) -> bool:
    """Whether two measurements, or gates, have the same numbers, as far as a ledger keeps them, and one criterion."""
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "outcome":
            continue
        if isinstance(a, float) and isinstance(b, float):
            if not (math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))):
                return False
        elif a != b:
            return False
    return True


def _verdict_faults(claim: Claim) -> list[str]:
    """Both verdicts and every outcome follow from the measurements, the gates, and what is missing."""
    follows = claim.judge(claim.measurements, claim.missing, missing_control=claim.missing_control, gates=claim.gates)
    faults = []
    for column, words in COLUMNS.items():
        if (kept := claim.verdict_of(column)) != (found := follows.verdict_of(column)):
            faults.append(f"{claim.id}: the verdict {words} is '{kept}', its measurements give '{found}'")
    for part, judged in zip(claim.measurements, follows.measurements, strict=True):
        if part.outcome != judged.outcome:
            faults.append(f"{claim.id}: {part.name} is '{part.outcome}', its numbers give '{judged.outcome}'")
    return faults
