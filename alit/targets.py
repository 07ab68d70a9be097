"""From a tokenizer's name in the settings to the tokenizer: a checkpoint folder, or anybody's class."""

import json
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn

from alit.errors import CheckpointError, ConfigError
from alit.grid_tokenizer import GridTokenizer
from alit.protocol import Tokenizer
from alit.tokenizer import AdaptiveTokenizer
from alit.training.checkpoint import CONFIG_FILE, load_base

MEMBERS = tuple(name for name in vars(Tokenizer) if not name.startswith("_"))


def load_tokenizer(
    target: str, arguments: Mapping[str, Any], *, folder: Path, image_size: int, device: torch.device
) -> Tokenizer:
    """Return a tokenizer on `device`, networks in eval mode.

    Args:
        target: a checkpoint folder, or "module:Class" (any callable) of a module that Python finds.
        arguments: keyword arguments of that class.
        folder: what a relative checkpoint folder is relative to; `runs/<profile>`.
        image_size: pixels per side, for checkpoints of a base tokenizer, which do not say.
        device: where networks run.

    Raises:
        ConfigError: no such folder, module or class, arguments that it refuses, or a member of
            `alit.protocol.Tokenizer` that it lacks.
        CheckpointError: a folder without a checkpoint that can be read.
    """
    if ":" in target:
        tokenizer = _call(target, arguments)
    elif (folder / target).is_dir():
        tokenizer = _load_checkpoint(folder / target, image_size)
    else:
        raise ConfigError(
            f"expected a tokenizer as module:Class or a checkpoint folder below {folder}, found {target}; "
            "a class in tokenizer.py beside dvc.yaml is tokenizer:Class"
        )
    missing = [name for name in MEMBERS if not hasattr(tokenizer, name)]
    if missing:
        raise ConfigError(
            f"expected {target} to have all of {', '.join(MEMBERS)} (alit/protocol.py), found none of "
            f"{', '.join(missing)}"
        )
    return tokenizer.to(device).eval() if isinstance(tokenizer, nn.Module) else tokenizer  # type: ignore[return-value]


def _call(target: str, arguments: Mapping[str, Any]) -> Any:
    try:
        make = resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected a tokenizer class at {target}, found none: {error}") from error
    try:
        return make(**arguments)
    except TypeError as error:
        raise ConfigError(f"{target} cannot be made with the arguments {dict(arguments)}: {error}") from error


def _load_checkpoint(folder: Path, image_size: int) -> Tokenizer:
    """Load what lies in a folder: an adaptive tokenizer, or a base tokenizer alone."""
    try:
        content = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"expected a checkpoint with {CONFIG_FILE} in {folder}, found none: {error}") from error
    if "distillation" in content:
        return AdaptiveTokenizer.from_pretrained(folder)
    return GridTokenizer(load_base(folder), image_size)
