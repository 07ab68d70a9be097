"""Settings."""

from typing import Literal

from pydantic import PositiveInt

from alit.settings import Settings

VariedFactor = Literal[
    "continuous", "width", "depth", "steps", "data", "stage 2", "halting", "curriculum", "recurrence", "fixed length"
]


class ComparisonConfig(Settings):
    """A question to two variants that differ in one respect."""

    factor: VariedFactor  # the respect; the claims look for it
    variant: str  # the one that is said to be better
    than: str


class AblationsConfig(Settings):
    """What is asked of the variants."""

    comparisons: tuple[ComparisonConfig, ...]
    images: PositiveInt  # of the first evaluation set, at most
