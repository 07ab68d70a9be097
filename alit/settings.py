"""The base of all settings: frozen, strict about unknown keys, and one line for the first fault."""

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from alit.errors import ConfigError


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error, and so is a missing one where no default is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def parse_settings(kind: type[S], content: Any, *, source: str) -> S:
    """Build settings from plain data; the first fault becomes one `ConfigError` line naming `source`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_describe(error, kind, source)) from error


def _describe(error: ValidationError, kind: type[BaseModel], source: str) -> str:
    """Turn pydantic's report into one line; unknown keys first, since they explain missing ones."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{source}: expected the key {key}, found none; the other files in configs/ show its form"
    if fault["type"] != "extra_forbidden":
        found = "" if isinstance(fault["input"], dict | BaseModel) else f", found {fault['input']!r}"
        message = fault["msg"].removeprefix("Value error, ")
        return f"{source}: {f'{key}: ' if key else ''}{message}{found}"
    valid = _valid_keys(kind, fault["loc"][:-1])
    close = difflib.get_close_matches(str(fault["loc"][-1]), valid, n=1, cutoff=0.0)
    return f"{source}: unknown key {key}; the closest valid key is {close[0] if close else '(none)'}"


def _valid_keys(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the settings model that `location` points into."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation = kind.model_fields[part].annotation
        arguments = getattr(annotation, "__args__", ())
        kind = next(a for a in (annotation, *arguments) if isinstance(a, type) and issubclass(a, BaseModel))
    return list(kind.model_fields)
