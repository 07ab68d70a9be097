"""What the adapters of tokenizers share whose code is a checkout on Python's path: no package index has it."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from alit.errors import CheckpointError, ConfigError


def import_checkout(module: str, name: str, repository: str) -> Any:
    """Return a name of a module in a checkout of a repository.

    Raises:
        ConfigError: Python does not find it.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"expected {module}.{name} on Python's path, found none ({error}); put a checkout of {repository} on "
            "PYTHONPATH, with what its requirements name"
        ) from error


def from_hub(kind: Any, pretrained: str) -> Any:
    """Return a network by its own `from_pretrained`, in eval mode.

    Raises:
        CheckpointError: there is none, or it is none of this class.
    """
    try:
        return kind.from_pretrained(pretrained).eval().requires_grad_(False)
    except Exception as error:  # those of the hub's client, of its file formats, and of the network itself
        raise CheckpointError(f"expected {kind.__name__} in {pretrained}: {error}") from error


def require_ascending(lengths: Sequence[int]) -> tuple[int, ...]:
    """Return token counts that a nested sequence is cut at, checked.

    Raises:
        ConfigError: there are none, or they do not ascend from 1 or more.
    """
    if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1:
        raise ConfigError(f"lengths: expected ascending numbers from 1, found {lengths}")
    return tuple(lengths)
