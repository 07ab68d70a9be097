"""Settings of what a tokenizer is compared with: other tokenizers, variants of its own training, and their cost."""

from typing import Any, Literal

from pydantic import PositiveInt

from alit.config.settings import Settings

VariedFactor = Literal[
    "continuous", "width", "depth", "steps", "data", "stage 2", "halting", "curriculum", "recurrence", "fixed length"
]


class BaselineConfig(Settings):
    """Another tokenizer: whatever offers `alit.protocol.Tokenizer`."""

    name: str  # its folder below runs/<profile>/baselines/, and its name in tables
    target: str  # a checkpoint folder below runs/<profile>/, or "module:Class" (alit.targets)
    arguments: dict[str, Any]  # keyword arguments of the class; empty for a checkpoint


class BaselinesConfig(Settings):
    """The tokenizers that are measured beside the profile's own, as it is."""

    sets: tuple[str, ...]  # the evaluation sets that they are swept over
    tokenizers: tuple[BaselineConfig, ...]


class VariantConfig(Settings):
    """The profile with some keys changed, trained once per seed."""

    name: str
    set: dict[str, Any]  # dotted key -> value; numbers index lists, as in data.sets.0.images
    seeds: tuple[int, ...]  # of what is trained on top of the base tokenizer


class ComparisonConfig(Settings):
    """A question to two variants that differ in one respect."""

    factor: VariedFactor  # the respect; the claims look for it
    variant: str  # the one that is said to be better
    than: str


class VariantsConfig(Settings):
    """Trainings that differ from the profile's (paper, Tab. 3 and 4, Fig. 10)."""

    common: dict[str, Any]  # changes that every variant shares, such as fewer steps
    trainings: tuple[VariantConfig, ...]


class AblationsConfig(Settings):
    """What is asked of the variants."""

    comparisons: tuple[ComparisonConfig, ...]
    images: PositiveInt  # of the first evaluation set, at most


class CostConfig(Settings):
    """Timing, one image at a time."""

    images: PositiveInt  # each is one round: every tokenizer, operation and length once, in turn
    threads: PositiveInt  # on a CPU
