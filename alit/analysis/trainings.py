"""Several trainings of one recipe, measured on the same images: one number, with an interval over images and trainings.

A value is mu + seed + image + seed x image. The images are the same for all trainings, so that their part of the
interval does not become smaller with more trainings; the rest is in the spread of the trainings' values. The two are
put together as squares of half-widths (Zou and Donner, Statistics in Medicine 27:1693, 2008), each side by itself. So
any measurement can be treated, whatever its samples were; `alit.analysis.inference.over_trainings` takes samples. In
simulation 95 % intervals cover the truth in 96 to 99 % (two trainings) and 97 % (three) of cases
(results/simulation.json); an interval with degrees of freedom by Welch and Satterthwaite would be narrower, and cover
88 % where two trainings differ much. A p-value is read from both parts as the interval is
(`alit.analysis.inference.p_beyond`).
"""

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from alit.analysis.claims import Claim
from alit.analysis.inference import TrainingStandardError
from alit.analysis.measurements import Measurement

NUMBERS = (  # what may differ
    *("value", "low", "high", "outcome", "statistic"),
    *("trainings", "training_spread", "training_error", "degrees"),
)


def mean_claim(claims: Sequence[Claim]) -> Claim:
    """Return a claim about several trainings, judged again: of each measurement that all of them have, the mean.

    Args:
        claims: the same claim of each training, that of the profile's own tokenizer first. What only this one has, and
            what is asked of others at another bound, stays a measurement of one training; gates are its own too.
    """
    own, *others = claims
    if not others:
        return own
    parts = [_over(part, [_named(claim, part.name) for claim in others]) for part in own.measurements]
    headline = own.headline
    if headline is not None:
        headline = _over(headline, [claim.headline for claim in others])
    judged = own.judge(parts, own.missing, missing_control=own.missing_control, gates=own.gates, headline=headline)
    return replace(judged, checkpoint=own.checkpoint)


def mean_measurement(parts: Sequence[Measurement]) -> Measurement:
    """Return the mean of one measurement over its trainings, two or more, each with an interval over images."""
    values = np.array([part.value for part in parts])
    spread = float(values.std(ddof=1))
    between = TrainingStandardError(spread / math.sqrt(len(parts)), float(len(parts) - 1))
    chance = between.half_width(parts[0].confidence)
    below, above = (np.mean([abs(part.value - getattr(part, end)) for part in parts]) for end in ("low", "high"))
    value = float(values.mean())
    return replace(
        parts[0],
        value=value,
        low=value - math.hypot(float(below), chance),
        high=value + math.hypot(float(above), chance),
        trainings=len(parts),
        training_spread=spread,
        training_error=between.error,
        degrees=between.degrees,
    )


def _over(own: Measurement, others: Sequence[Measurement | None]) -> Measurement:
    same = [part for part in others if part is not None and _criterion(part) == _criterion(own)]
    return mean_measurement([own, *same]) if own.trainings == 1 and len(same) == len(others) else own


def _named(claim: Claim, name: str) -> Measurement | None:
    return next((part for part in claim.measurements if part.name == name), None)


def _criterion(part: Measurement) -> tuple:
    return tuple(getattr(part, field.name) for field in fields(Measurement) if field.name not in NUMBERS)
