"""A profile: the complete settings of a run, read strictly from `configs/<profile>.yaml`."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from alit.config.data import DataConfig
from alit.config.evaluation import AnalysisConfig, ReportConfig, SweepConfig, TaskModelConfig
from alit.config.model import TokenizerConfig
from alit.config.settings import Settings
from alit.config.training import BaseTrainingConfig, DistillTrainingConfig, FinetuneTrainingConfig
from alit.errors import ConfigError


S = TypeVar("S", bound=Settings)


class Profile(Settings):
    """Every stage reads the sections it needs, and `dvc.yaml` lists exactly those as its params."""

    seed: int
    device: str  # "auto", "cpu" or "cuda": Lightning Fabric's accelerator
    devices: int
    data: DataConfig
    tokenizer: TokenizerConfig
    perceptual_trunk: str  # network of the training losses' perceptual term; see alit.tasks.trunks
    base_training: BaseTrainingConfig
    distill: DistillTrainingConfig
    finetune: FinetuneTrainingConfig
    task_models: tuple[TaskModelConfig, ...]
    sweep: SweepConfig
    analysis: AnalysisConfig
    report: ReportConfig


def load_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the message names the key, the file and
            the closest valid key), a key is missing, or a value is of the wrong kind.
    """
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"expected a profile at {path}, found none; profiles here: {', '.join(known)}")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return parse_settings(Profile, content, source=str(path))


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
    if fault["type"] != "extra_forbidden":
        return f"{source}: {key or 'the file'}: {fault['msg']}"
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
