"""The base of every settings model: frozen, complete, and strict about unknown keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error, and so is a missing one where no default is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid")
