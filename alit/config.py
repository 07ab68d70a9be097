"""A profile: the complete settings of a run, read strictly from `configs/<profile>.yaml`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import model_validator

from alit.analysis.study_data import AnalysisConfig
from alit.report.site import ReportConfig
from alit.settings import parse_settings, read_yaml
from alit.studies.ablations.measure import AblationsConfig
from alit.studies.attention.measure import AttentionConfig
from alit.studies.codebook.measure import CodebookConfig
from alit.studies.cost.measure import CostConfig
from alit.studies.probe.measure import ProbeConfig
from alit.sweep.engine import SweepConfig
from alit.tasks.registry import TaskModelConfig
from alit.tokenizer.adapters import BaselinesConfig
from alit.training.engine.execution import ExecutionConfig
from alit.training.finetune import FinetuneFromCheckpointConfig
from alit.training.variants import TrainingSettings, VariantsConfig, vary_training


class Profile(TrainingSettings):
    """Every stage reads the sections it needs, and `dvc.yaml` lists exactly those as its params."""

    about: tuple[str, ...]  # what the profile is for, what it needs, what to expect
    device: str  # "auto", "cpu" or "cuda": Lightning Fabric's accelerator
    devices: int
    execution: ExecutionConfig
    finetune_from_checkpoint: FinetuneFromCheckpointConfig
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
    content = read_yaml(path)
    checked = parse_settings(Profile, content, source=str(path))
    for variant in checked.variants.trainings:
        # A fault in a variant shows now, not after the trainings before it.
        vary_training(checked, checked.variants, variant.name)
    return checked
