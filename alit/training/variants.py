"""Variants of a profile: stages 1 and 2 with some settings changed, trained here or finished before."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from alit.data.imageset import ImageSet
from alit.data.prepare import DataConfig, ImageSetConfig
from alit.errors import CheckpointError, ConfigError
from alit.models.base import BaseTokenizer
from alit.models.distillation import TokenizerConfig
from alit.models.loading import load_published
from alit.models.losses import PerceptualDistance
from alit.settings import FolderName, Settings, flat, parse_settings
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import BaseTrainingConfig, train_base
from alit.training.distill import DistillTrainingConfig, train_distillation
from alit.training.engine.execution import PLAIN, ExecutionConfig
from alit.training.engine.loader import Augmentation
from alit.training.finetune import FinetuneTrainingConfig, train_finetune

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


class VariantConfig(Settings):
    """The profile with some keys changed, trained once per seed."""

    name: FolderName
    set: dict[str, Any]  # dotted key -> value; numbers index lists, as in data.sets.0.images
    seeds: tuple[int, ...]  # of what is trained on top of the base tokenizer
    # seed -> folder of a finished training, relative to the checkout, that is taken instead of trained
    checkpoints: dict[int, str] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_no_checkpoints(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out checkpoints where there are none: what is kept of a profile does not change with the key."""
        content = dump(self)
        return content if self.checkpoints else {key: content[key] for key in content if key != "checkpoints"}

    @model_validator(mode="after")
    def _checkpoints_have_seeds(self) -> "VariantConfig":
        unknown = [seed for seed in self.checkpoints if seed not in self.seeds]
        if unknown:
            raise ValueError(f"variant {self.name}: expected checkpoints of its seeds, found one of seed {unknown[0]}")
        return self


class VariantsConfig(Settings):
    """Trainings that differ from the profile's (paper, Tab. 3 and 4, Fig. 10)."""

    common: dict[str, Any]  # changes that every variant shares, such as fewer steps
    trainings: tuple[VariantConfig, ...]


# What a variant may change; of the data, only where its images come from, and how many of them it trains on.
VARIED = re.compile(r"(tokenizer|base_training|distill|finetune)\.|data\.sets\.\d+\.(images|path)$")

Stage = BaseTrainingConfig | DistillTrainingConfig | FinetuneTrainingConfig
MakePerceptual = Callable[[str], PerceptualDistance]  # from the name of its trunk


class TrainingSettings(Settings):
    """The settings that a training of the tokenizer depends on: the sections of a profile that `vary` changes."""

    seed: int
    init_from: str  # "scratch", or a checkpoint: a folder, a hub id or a file; see `alit.tokenizer.opening`
    data: DataConfig
    tokenizer: TokenizerConfig
    perceptual_trunk: str  # network of the training losses' perceptual term; see alit.tasks.perceptual
    base_training: BaseTrainingConfig
    distill: DistillTrainingConfig
    finetune: FinetuneTrainingConfig

    @model_validator(mode="after")
    def _training_sections_agree(self) -> "TrainingSettings":
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
        return self


def with_published_base(settings: TrainingSettings) -> TrainingSettings:
    """Return the settings with all that the file of a published base tokenizer states; others as they are.

    Raises:
        CheckpointError: it is not found; see `alit.models.loading.load_published`.
    """
    if settings.tokenizer.base.pretrained is None:
        return settings
    base = load_published(settings.tokenizer.base).config
    return settings.model_copy(update={"tokenizer": settings.tokenizer.model_copy(update={"base": base})})


def vary_training(profile: TrainingSettings, variants: VariantsConfig, name: str) -> TrainingSettings:
    """Return the settings that one of `variants.trainings` is trained by.

    Raises:
        ConfigError: a key that no setting has or that a variant may not change, or a value of the wrong kind.
    """
    entry = next(variant for variant in variants.trainings if variant.name == name)
    source = f"variants.trainings {name}"
    varied = vary(profile, {**variants.common, **entry.set}, source=source)
    try:
        set_of_path(profile, varied)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    return varied


def vary(profile: TrainingSettings, changes: Mapping[str, Any], *, source: str) -> TrainingSettings:
    """Return the settings of a training with some keys changed, checked like those that were read.

    Args:
        profile: stays as it is.
        changes: dotted key -> value; numbers index lists, as in `data.sets.0.images`.
        source: what an error names.

    Raises:
        ConfigError: see `vary_training`.
    """
    content = profile.model_dump(mode="json", include=set(TrainingSettings.model_fields))
    for key, value in changes.items():
        if not VARIED.match(key):
            raise ConfigError(
                f"{source}: expected keys of tokenizer, base_training, distill or finetune, or data.sets.N.images or "
                f"data.sets.N.path, found {key}"
            )
        *path, last = key.split(".")
        place: Any = content
        try:
            for part in path:
                place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
            place[last] = value
        except (IndexError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{source}: there is no key {key}") from error
    return parse_settings(TrainingSettings, content, source=source)


def shares_base(variant: TrainingSettings, profile: TrainingSettings) -> bool:
    """Whether a variant uses the profile's base tokenizer: neither its shape nor its training differs."""
    same = (profile.tokenizer.base, profile.base_training)
    return (variant.tokenizer.base, variant.base_training) == same


def is_stage_1(variant: TrainingSettings, profile: TrainingSettings, seed: int) -> bool:
    """Whether a training is stage 1 of the profile itself, which the stage `distill` has done."""
    return _is_distilled(variant, profile, seed) and variant.finetune.optimization.steps == 0


def is_own(variant: TrainingSettings, profile: TrainingSettings, seed: int) -> bool:
    """Whether a training is that of the profile itself, which the stages `distill` and `finetune` have done."""
    return _is_distilled(variant, profile, seed) and variant.finetune == profile.finetune


def _is_distilled(variant: TrainingSettings, profile: TrainingSettings, seed: int) -> bool:
    sections = ("data", "tokenizer", "base_training", "distill")
    same = all(getattr(variant, section) == getattr(profile, section) for section in sections)
    return same and seed == profile.seed and profile.init_from == "scratch"


def train_set_config(settings: TrainingSettings) -> ImageSetConfig:
    """Return the settings of the set that a training takes its images from."""
    return next(part for part in settings.data.sets if part.role == "train")


def set_of_path(profile: TrainingSettings, variant: TrainingSettings) -> ImageSetConfig:
    """Return the set of the profile that has the images of a variant: its own training set, or one of another path.

    Raises:
        ConfigError: the variant names a path that no set of the profile has.
    """
    wanted = train_set_config(variant)
    if wanted.path == train_set_config(profile).path:
        return train_set_config(profile)
    place = (wanted.source, wanted.path, wanted.variant, wanted.split)
    for part in profile.data.sets:
        if (part.source, part.path, part.variant, part.split) == place:
            return part
    raise ConfigError(
        f"expected a set of data.sets with source {wanted.source}, path {wanted.path} and split {wanted.split}, from "
        "which a variant takes its images, found none; add one with role: study"
    )


def base_settings(variant: TrainingSettings) -> dict[str, Any]:
    """Return all that the base tokenizer of a variant depends on."""
    return {
        "stage": "base",
        "seed": variant.seed,
        "data": variant.data,
        "base": variant.tokenizer.base,
        "perceptual_trunk": variant.perceptual_trunk,
        "training": variant.base_training,
    }


def variant_settings(variant: TrainingSettings, seed: int) -> dict[str, Any]:
    """Return all that a variant's training depends on, except its base tokenizer."""
    return {
        "stage": "variants",
        "seed": seed,
        "data": variant.data,
        "tokenizer": variant.tokenizer,
        "perceptual_trunk": variant.perceptual_trunk,
        "training": variant.distill,
        "finetune": variant.finetune,
    }


def require_trained_by(variant: TrainingSettings, seed: int, records: Mapping[str, Any], source: str) -> None:
    """Check that a finished training was made by the settings of a variant; its networks are another check.

    Args:
        variant: the profile with the variant's changes.
        seed: of the training.
        records: what its stages wrote as training.json, by stage: "distill", "finetune" where there was a stage 2, and
            "base" where the base tokenizer is not a published one.
        source: what an error names.

    Raises:
        CheckpointError: a record is missing, or a setting differs: the message has the first, with both values.
        ConfigError: a record has an unknown, missing or impossible setting.
    """
    stages: dict[str, tuple[int, Stage]] = {"distill": (seed, variant.distill)}
    if variant.tokenizer.base.pretrained is None:
        stages["base"] = (variant.seed, variant.base_training)
    if variant.finetune.optimization.steps or "finetune" in records:
        stages["finetune"] = (seed, variant.finetune)
    for stage, (seeded, config) in stages.items():
        if stage not in records:
            raise CheckpointError(
                f"{source}: expected the record of stage {stage} (training.json) with the weights, found none, so that "
                "its settings cannot be compared with the variant's"
            )
        record, where = records[stage], f"{source}: record of stage {stage}"
        data = parse_settings(DataConfig, record.get("data"), source=where)
        training = parse_settings(type(config), record.get("training"), source=where)
        expected, found = _compared(seeded, variant.data, config), _compared(record.get("seed"), data, training)
        for key in expected if config.optimization.steps else ["training.optimization.steps"]:
            if expected[key] != found[key]:
                raise CheckpointError(
                    f"{source}: expected {key} {expected[key]} of stage {stage} as the variant has it, found "
                    f"{found[key]}; make set and the training agree, or leave the checkpoint out"
                )


def _compared(seed: int | None, data: DataConfig, training: Settings) -> dict[str, Any]:
    """Return the settings by dotted key that the numbers of a training depend on, but for its networks."""
    content = data.model_dump(mode="json", exclude={"sets", "rejected_share"})
    train = next((part for part in data.sets if part.role == "train"), None)
    content["set"] = None if train is None else train.model_dump(mode="json", exclude={"name", "role", "pack"})
    found = flat({"seed": seed, "data": content, "training": training.model_dump(mode="json")})
    return {key: value for key, value in found.items() if not key.endswith((".save_every", ".log_every"))}


def train_variant_base(
    variant: TrainingSettings,
    images: ImageSet,
    make_perceptual: MakePerceptual,
    fabric: "Fabric",
    scratch: Path,
    execution: ExecutionConfig = PLAIN,
) -> BaseTokenizer:
    """Train the base tokenizer of a variant, resumably; see `alit.training.base.train_base`."""
    config = variant.base_training
    return train_base(
        variant.tokenizer.base,
        config,
        images,
        make_perceptual(variant.perceptual_trunk)
        if config.perceptual_weight > 0 and variant.tokenizer.base.pretrained is None
        else None,
        augmentation=Augmentation.of(variant.data),
        fabric=fabric,
        seed=variant.seed,
        scratch=scratch,
        execution=execution,
    )


def train_variant(
    variant: TrainingSettings,
    base: BaseTokenizer,
    images: ImageSet,
    make_perceptual: MakePerceptual,
    seed: int,
    *,
    fabric: "Fabric",
    scratch: Path,
    base_tokens: Path,
    execution: ExecutionConfig = PLAIN,
) -> AdaptiveTokenizer:
    """Run stage 1, and stage 2 unless it has no steps; each goes on from its state in `scratch`.

    Args:
        variant: the profile with the variant's changes.
        base: trained; stays as it is.
        images: the training set.
        make_perceptual: builds the perceptual term of stage 2, where it has one.
        seed: of both stages; the base tokenizer is that of the profile's seed.
        fabric: runs both stages in its precision.
        scratch: folder of resume states.
        base_tokens: folder of cached tokens of `images` by `base`, shared by variants that share both.
        execution: how to compute it on this machine.
    """
    augmentation = Augmentation.of(variant.data)
    tokenizer = train_distillation(
        variant.tokenizer,
        variant.distill,
        base,
        images,
        augmentation=augmentation,
        fabric=fabric,
        seed=seed,
        scratch=scratch / "distill",
        base_tokens=base_tokens,
        execution=execution,
    )
    if variant.finetune.optimization.steps:
        perceptual = make_perceptual(variant.perceptual_trunk) if variant.finetune.perceptual_weight > 0 else None
        train_finetune(
            tokenizer,
            variant.finetune,
            images,
            perceptual,
            augmentation=augmentation,
            fabric=fabric,
            seed=seed,
            scratch=scratch / "finetune",
            execution=execution,
        )
    return tokenizer
