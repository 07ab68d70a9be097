"""Settings."""

from typing import Any

from alit.settings import Settings


class BaselineConfig(Settings):
    """Another tokenizer: whatever offers `alit.protocol.Tokenizer`."""

    name: str  # its folder below runs/<profile>/baselines/, and its name in tables
    target: str  # a checkpoint folder below runs/<profile>/, or "module:Class" (alit.targets)
    arguments: dict[str, Any]  # keyword arguments of the class; empty for a checkpoint


class BaselinesConfig(Settings):
    """The tokenizers that are measured beside the profile's own, as it is."""

    sets: tuple[str, ...]  # the evaluation sets that they are swept over
    tokenizers: tuple[BaselineConfig, ...]
