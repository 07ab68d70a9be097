"""What it would take to decide the measurements of a ledger that are open: how many images, how many trainings."""

import math
from collections.abc import Iterable

import pandas as pd

from alit.analysis.claims import Claim
from alit.analysis.inference import required_images, required_seeds
from alit.analysis.measurements import Measurement

POWER = 0.8
COLUMNS = [
    *("claim", "column", "measurement", "statistic", "images", "trainings"),
    *("effect", "images_for_effect", "trainings_for_effect", "margin", "images_for_margin", "trainings_for_margin"),
]


def power_table(claims: Iterable[Claim], power: float = POWER) -> pd.DataFrame:
    """Return the images and trainings that each inconclusive measurement would need to be decided with this power.

    Two effects are planned for. The one that was measured is what it would take if it were the true one; it is itself
    uncertain, and small ones take any number. The margin is what it would take to see the smallest effect of interest,
    whatever was measured, and is the better plan. Images are counted as if trainings were unlimited, and trainings as
    if images were; no correction for several measurements is in either.

    Returns:
        Columns `COLUMNS`, one row per measurement, those of one claim together; counts are rounded up, inf where no
        number suffices, nan where they do not apply: no margin, or a spread between trainings that is not known.
    """
    rows = [
        _row(claim, part, power) for claim in claims for part in claim.measurements if part.outcome == "inconclusive"
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(claim: Claim, part: Measurement, power: float) -> dict[str, object]:
    assert part.bound is not None
    distance = abs(part.value - part.bound)
    margin = math.nan if part.margin is None else part.margin
    equivalence = part.expects == "equivalence"
    effect = abs(margin - distance) if equivalence else distance  # to the point that the test excludes
    found = {
        "claim": claim.id,
        "column": part.column,
        "measurement": part.name,
        "statistic": part.statistic,
        "images": part.images,
        "trainings": part.trainings,
        "effect": effect,
        "margin": margin,
    }
    for name, size in (("effect", effect), ("margin", margin)):
        found[f"images_for_{name}"] = _images(part, size, power)
        found[f"trainings_for_{name}"] = _trainings(part, size, power)
    return found


def _images(part: Measurement, effect: float, power: float) -> float:
    """Count images by the part of the interval that is theirs: its half-width is put together of squares."""
    if math.isnan(effect) or not part.high > part.low:
        return math.nan
    needed = required_images(part.estimate, part.images, effect, part.confidence, power)
    return _ceil(needed * (1 - part.training_share)) if math.isfinite(needed) else needed


def _trainings(part: Measurement, effect: float, power: float) -> float:
    if math.isnan(effect) or math.isnan(part.training_spread):
        return math.nan
    return required_seeds(part.training_spread, effect, part.confidence, power)


def _ceil(value: float) -> float:
    return float(math.ceil(value)) if math.isfinite(value) else value
