"""A profile: the complete settings of a run, read strictly from `configs/<profile>.yaml`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt, ValidationError, model_validator

from alit.analysis.study_data import AnalysisConfig
from alit.data.prepare import DataConfig
from alit.models.distillation import TokenizerConfig
from alit.paths import TARGET
from alit.report.site import ReportConfig
from alit.settings import Settings, parse_settings, read_yaml
from alit.studies.ablations.measure import AblationsConfig
from alit.studies.attention.measure import AttentionConfig
from alit.studies.codebook.measure import CodebookConfig
from alit.studies.cost.measure import CostConfig
from alit.studies.probe.measure import ProbeConfig
from alit.sweep.engine import SweepConfig
from alit.tasks.registry import TaskModelConfig
from alit.tokenizer.adapters import BaselinesConfig, TargetConfig
from alit.tokenizer.length_predictor import LengthPredictorConfig
from alit.training.base import BaseTrainingConfig
from alit.training.distill import DistillTrainingConfig
from alit.training.engine.execution import ExecutionConfig
from alit.training.finetune import FinetuneFromCheckpointConfig, FinetuneTrainingConfig
from alit.training.variants import TrainingSettings, VariantsConfig, vary_training


class Profile(Settings):
    """Every stage reads the sections it needs, and `dvc.yaml` lists exactly those as its params.

    A profile that only measures the tokenizer of `init_from` may leave out, as null, what `TrainingSettings` asks for:
    `tokenizer` is then as the checkpoint has it, and nothing is trained.
    """

    about: tuple[str, ...]  # what the profile is for, what it needs, what to expect
    seed: int
    # "scratch"; a checkpoint: a folder, a hub id or a file, see `alit.tokenizer.opening`; or "target": `target` below.
    init_from: str
    device: Literal["auto", "cpu", "cuda"]  # Lightning Fabric's accelerator
    devices: PositiveInt  # processes on each node
    execution: ExecutionConfig
    data: DataConfig
    tokenizer: TokenizerConfig | None
    target: TargetConfig | None = None  # what section tokenizer holds where it names somebody else's tokenizer
    perceptual_trunk: str | None
    base_training: BaseTrainingConfig | None
    distill: DistillTrainingConfig | None
    finetune: FinetuneTrainingConfig | None
    finetune_from_checkpoint: FinetuneFromCheckpointConfig | None
    length_predictor: LengthPredictorConfig
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

    @property
    def training(self) -> TrainingSettings | None:
        """The settings of a training of the tokenizer; None where the profile leaves some of them out."""
        sections = {name: getattr(self, name) for name in TrainingSettings.model_fields}
        return None if None in sections.values() else TrainingSettings(**sections)

    @model_validator(mode="after")
    def _target_is_taken(self) -> "Profile":
        """Refuse a tokenizer of somebody else's that something is asked of which only one of ours can do."""
        if (self.init_from == TARGET) != (self.target is not None):
            raise ValueError(
                "init_from: target goes with a section tokenizer that has the key target, and only with it"
            )
        if self.target is not None and any(each.target == "base" for each in self.baselines.tokenizers):
            raise ValueError(
                "baselines.tokenizers: expected no target base, which a tokenizer of somebody else has not"
            )
        return self

    @model_validator(mode="after")
    def _training_can_run(self) -> "Profile":
        """Refuse to train without settings or images."""
        try:
            training = self.training
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        further, untrained = self.finetune_from_checkpoint, "a task model that is trained here, with train_on: null"
        trainings = {
            "init_from: scratch": self.init_from == "scratch",
            "variants.trainings": bool(self.variants.trainings),
            "finetune_from_checkpoint.steps": further is not None and further.steps > 0,
        }
        asked = [key for key, is_asked in trainings.items() if is_asked]
        if asked and training is None:
            absent = next(name for name in TrainingSettings.model_fields if getattr(self, name) is None)
            raise ValueError(
                f"expected the section {absent}, found null, but {asked[0]} trains; or name a checkpoint as init_from "
                "and train nothing"
            )
        asked += [f"sweep.{key}" for key in ("training_images", "code_model_images") if getattr(self.sweep, key)]
        asked += [untrained] if any(m.trained_here and m.train_on is None for m in self.task_models) else []
        if asked and not any(image_set.role == "train" for image_set in self.data.sets):
            raise ValueError(f"data.sets must hold a set with role: train, for {asked[0]}")
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> "Profile":
        sets = [image_set.name for image_set in self.data.sets]
        models = [model.name for model in self.task_models]
        _require_unique("data.sets", sets)
        _require_unique("task_models", models)
        for name in self.attention.sets:
            _require_known("attention.sets", name, sets)
        if self.tokenizer and self.attention.layer > (layers := self.tokenizer.distillation.layers):
            raise ValueError(f"attention.layer: expected one of the decoder's {layers}, found {self.attention.layer}")
        _require_known("report.example_set", self.report.example_set, sets)
        for key in ("perceptual_model", "feature_extractor"):
            if name := getattr(self.analysis, key):
                _require_known(f"analysis.{key}", name, models)
        swept = [part.name for part in self.data.sets if part.role == "evaluate" and not part.controlled]
        if not swept:
            raise ValueError("data.sets must hold a set with role: evaluate")
        for name in self.analysis.familiarity:
            _require_known("analysis.familiarity", name, swept[1:])
        for key in ("classifiers", "depth_models", "captioners"):
            for name in getattr(self.analysis, key):
                _require_known(f"analysis.{key}", name, models)
        evaluated = [image_set.name for image_set in self.data.sets if image_set.role == "evaluate"]
        for name in self.baselines.sets:
            _require_known("baselines.sets", name, evaluated)
        if self.baselines.tokenizers and not self.baselines.sets:
            raise ValueError("baselines.sets must name a set to sweep baselines.tokenizers over; or name no tokenizers")
        others = [*self.baselines.tokenizers, *self.baselines.trainings]
        _require_unique("baselines.tokenizers and baselines.trainings", [other.name for other in others])
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
                if chosen is not None and not model.trained_here:
                    raise ValueError(f"task_models {model.name}: expected null as {key} of weights {model.weights}")
                if chosen is not None:
                    _require_known(f"task_models {model.name}.{key}", chosen, known)
        return self


def _require_unique(section: str, names: Sequence[str]) -> None:
    """Refuse two entries of one name: they would write the same files and columns."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{section}: the name {repeated[0]} stands twice")


def _require_known(key: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name that no entry has."""
    if name not in names:
        raise ValueError(f"{key}: expected one of {', '.join(names) or 'none at all'}, found {name}")


def load_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the message names the key, the file and
            the closest valid key), stands twice or is missing, or a value is of the wrong kind; also in a variant.
    """
    return parse_profile(read_yaml(path), source=str(path))


def _take_target(content: Any) -> Any:
    """Tell the two kinds of section tokenizer apart: one of the key `target` names somebody else's.

    No validator of `Profile`: behind one, pydantic would take JSON's lists for Python's, and none of them for a tuple.
    """
    named = content.get("tokenizer") if isinstance(content, Mapping) else None
    if isinstance(named, Mapping) and "target" in named:
        return {**content, "tokenizer": None, "target": named}
    return content


def parse_profile(content: Any, *, source: str) -> Profile:
    """Check a profile that has been read; see `load_profile`."""
    checked = parse_settings(Profile, _take_target(content), source=source)
    training = checked.training
    if training is not None:
        for variant in checked.variants.trainings:
            # A fault in a variant shows now, not after the trainings before it.
            vary_training(training, checked.variants, variant.name)
    return checked
