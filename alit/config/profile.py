"""A profile: the complete settings of a run, read strictly from `configs/<profile>.yaml`."""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import model_validator

from alit.config.s_ablations import AblationsConfig
from alit.config.s_analysis import AnalysisConfig
from alit.config.s_attention import AttentionConfig
from alit.config.s_codebook import CodebookConfig
from alit.config.s_cost import CostConfig
from alit.config.s_probe import ProbeConfig
from alit.config.s_report import ReportConfig
from alit.data.prepare import DataConfig
from alit.errors import ConfigError
from alit.models.distillation import TokenizerConfig
from alit.settings import Settings, parse_settings
from alit.sweep.engine import SweepConfig
from alit.tasks.registry import TaskModelConfig
from alit.tokenizer.adapters import BaselinesConfig
from alit.training.base import BaseTrainingConfig
from alit.training.distill import DistillTrainingConfig
from alit.training.finetune import ContinuedTrainingConfig, FinetuneTrainingConfig
from alit.training.variants import VariantsConfig

# What a variant may change; of the data, only how many images it trains on.
VARIED = re.compile(r"(tokenizer|base_training|distill|finetune)\.|data\.sets\.\d+\.images$")


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
    continued: ContinuedTrainingConfig
    task_models: tuple[TaskModelConfig, ...]
    sweep: SweepConfig
    baselines: BaselinesConfig
    variants: VariantsConfig
    ablations: AblationsConfig
    cost: CostConfig
    attention: AttentionConfig
    codebook: CodebookConfig
    probe: ProbeConfig
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
        if self.distill.halting and self.tokenizer.distillation.growth == "nested":
            raise ValueError("distill.halting needs growth: recurrent; nested latents come in one iteration")
        sets = [image_set.name for image_set in self.data.sets]
        models = [model.name for model in self.task_models]
        _require_unique("data.sets", sets)
        _require_unique("task_models", models)
        if not any(image_set.role == "train" for image_set in self.data.sets):
            raise ValueError("data.sets must hold a set with role: train")
        for name in self.attention.sets:
            _require_known("attention.sets", name, sets)
        if self.attention.layer > (layers := self.tokenizer.distillation.layers):
            raise ValueError(f"attention.layer: expected one of the decoder's {layers}, found {self.attention.layer}")
        _require_known("report.example_set", self.report.example_set, sets)
        _require_known("analysis.perceptual_model", self.analysis.perceptual_model, models)
        _require_known("analysis.feature_extractor", self.analysis.feature_extractor, models)
        swept = [part.name for part in self.data.sets if part.role == "evaluate" and not part.controlled]
        for name in self.analysis.familiarity:
            _require_known("analysis.familiarity", name, swept[1:])
        for key in ("classifiers", "depth_models", "captioners"):
            for name in getattr(self.analysis, key):
                _require_known(f"analysis.{key}", name, models)
        evaluated = [image_set.name for image_set in self.data.sets if image_set.role == "evaluate"]
        for name in self.baselines.sets:
            _require_known("baselines.sets", name, evaluated)
        _require_unique("baselines.tokenizers", [baseline.name for baseline in self.baselines.tokenizers])
        variants = [variant.name for variant in self.variants.trainings]
        _require_unique("variants.trainings", variants)
        for comparison in self.ablations.comparisons:
            _require_known("ablations.comparisons", comparison.variant, variants)
            _require_known("ablations.comparisons", comparison.than, variants)
        return self

    @model_validator(mode="after")
    def _task_models_train_apart(self) -> "Profile":
        """Refuse a task model that would learn from images that it is to be judged on."""
        roles = {image_set.name: image_set.role for image_set in self.data.sets}
        lessons = [name for name, role in roles.items() if role in ("train", "task")]
        for model in self.task_models:
            tests = [name for name, role in roles.items() if role in ("task", "evaluate") and name != model.train_on]
            for key, chosen, known in (("train_on", model.train_on, lessons), ("test_on", model.test_on, tests)):
                if chosen is not None and model.weights != "train":
                    raise ValueError(f"task_models {model.name}: expected null as {key} of weights {model.weights}")
                if chosen is not None:
                    _require_known(f"task_models {model.name}.{key}", chosen, known)
        return self

    def variant(self, name: str) -> "Profile":
        """Return the profile that one of `variants.trainings` is.

        Raises:
            ConfigError: a key that no setting has or that a variant may not change, or a value of the wrong kind.
        """
        entry = next(variant for variant in self.variants.trainings if variant.name == name)
        return vary(self, {**self.variants.common, **entry.set}, source=f"variants.trainings {name}")


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
            the closest valid key), stands twice or is missing, or a value is of the wrong kind; also in a variant.
    """
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"expected a profile at {path}, found none; profiles here: {', '.join(known)}")
    try:
        content = yaml.load(path.read_text(), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    checked = parse_settings(Profile, content, source=str(path))
    for variant in checked.variants.trainings:
        checked.variant(variant.name)  # a fault in a variant shows now, not after the trainings before it
    return checked


def vary(profile: Profile, changes: Mapping[str, Any], *, source: str) -> Profile:
    """Return a profile with some keys changed, checked like one that was read.

    Args:
        profile: stays as it is.
        changes: dotted key -> value; numbers index lists, as in `data.sets.0.images`.
        source: what an error names.

    Raises:
        ConfigError: see `Profile.variant`.
    """
    content = profile.model_dump(mode="json")
    for key, value in changes.items():
        if not VARIED.match(key):
            raise ConfigError(f"{source}: expected keys of tokenizer, base_training, distill or finetune, found {key}")
        *path, last = key.split(".")
        place: Any = content
        try:
            for part in path:
                place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
            place[last] = value
        except (IndexError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{source}: there is no key {key}") from error
    return parse_settings(Profile, content, source=source)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML itself would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)
