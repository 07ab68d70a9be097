"""Settings."""

from typing import Any

from alit.settings import Settings


class VariantConfig(Settings):
    """The profile with some keys changed, trained once per seed."""

    name: str
    set: dict[str, Any]  # dotted key -> value; numbers index lists, as in data.sets.0.images
    seeds: tuple[int, ...]  # of what is trained on top of the base tokenizer


class VariantsConfig(Settings):
    """Trainings that differ from the profile's (paper, Tab. 3 and 4, Fig. 10)."""

    common: dict[str, Any]  # changes that every variant shares, such as fewer steps
    trainings: tuple[VariantConfig, ...]
