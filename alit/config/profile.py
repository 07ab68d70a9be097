"""A profile: the complete settings of a run, read strictly from `configs/<profile>.yaml`."""

import difflib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, model_validator

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
    init_from: (
        str  # "scratch", or a folder below the checkout such as zoo/alit-scenes whose networks training goes on from
    )
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

    @model_validator(mode="after")
    def _sections_agree(self) -> "Profile":
        sizes = (self.data.image_size, self.tokenizer.image_size)
        if sizes[0] != sizes[1]:
            raise ValueError(f"data.image_size {sizes[0]} and tokenizer.image_size {sizes[1]} must agree")
        weights = self.distill.cross_entropy_weights
        if len(weights) != self.tokenizer.iterations:
            raise ValueError(
                f"distill.cross_entropy_weights must have one number for each of the {self.tokenizer.iterations} "
                f"iterations, found {len(weights)}"
            )
        sets = [image_set.name for image_set in self.data.sets]
        models = [model.name for model in self.task_models]
        _require_unique("data.sets", sets)
        _require_unique("task_models", models)
        if not any(image_set.role == "train" for image_set in self.data.sets):
            raise ValueError("data.sets must hold a set with role: train")
        _require_known("report.example_set", self.report.example_set, sets)
        _require_known("analysis.weak_classifier", self.analysis.weak_classifier, models)
        _require_known("analysis.strong_classifier", self.analysis.strong_classifier, models)
        _require_known("analysis.feature_extractor", self.analysis.feature_extractor, models)
        if self.analysis.depth_model is not None:
            _require_known("analysis.depth_model", self.analysis.depth_model, models)
        return self


def _require_unique(section: str, names: Sequence[str]) -> None:
    """Refuse two entries of one name: they would write the same files and columns."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{section}: the name {repeated[0]} stands twice")


def _require_known(key: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name that no entry has."""
    if name not in names:
        raise ValueError(f"{key}: expected one of {', '.join(names)}, found {name}")


def load_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the message names the key, the file and
            the closest valid key), stands twice or is missing, or a value is of the wrong kind.
    """
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"expected a profile at {path}, found none; profiles here: {', '.join(known)}")
    try:
        content = yaml.load(path.read_text(), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return parse_settings(Profile, content, source=str(path))


def parse_settings(kind: type[S], content: Any, *, source: str) -> S:
    """Build settings from plain data; the first fault becomes one `ConfigError` line naming `source`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_describe(error, kind, source)) from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML itself would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


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
