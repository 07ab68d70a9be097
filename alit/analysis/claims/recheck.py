"""Holding a kept ledger against the tables that it was computed from."""

import math
from collections.abc import Sequence

from alit.analysis.claims.ledger import Claim, Measurement, Statement

TOLERANCE = 1e-4  # relative; a ledger keeps six digits
FROM_FEATURES = ("Fréchet", "kernel")  # distances of features, which are too large to keep beside a ledger


def recheck(kept: Sequence[Claim], recomputed: Sequence[Claim]) -> list[str]:
    """Return every fault of a kept ledger, one line each; none when it stands.

    Every kept measurement must come out of the tables again, except distances of features, which the kept tables do
    not hold; and every verdict must follow from the kept measurements.

    Args:
        kept: the ledger as it was written.
        recomputed: the same claims, computed anew from the kept tables without features.
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
            if not any(word in part.statistic for word in FROM_FEATURES):
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
    return [f"{claim.id}: the verdict is '{claim.verdict}', its measurements say '{follows}'"]
