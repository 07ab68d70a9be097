"""Settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from alit.config.profile import Profile
from alit.models.base import BaseTokenizer
from alit.models.losses import PerceptualDistance
from alit.settings import Settings
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import train_base
from alit.training.distill import train_distillation
from alit.training.engine.loader import Augmentation, TrainingImages
from alit.training.finetune import train_finetune


class VariantConfig(Settings):
    """The profile with some keys changed, trained once per seed."""

    name: str
    set: dict[str, Any]  # dotted key -> value; numbers index lists, as in data.sets.0.images
    seeds: tuple[int, ...]  # of what is trained on top of the base tokenizer


class VariantsConfig(Settings):
    """Trainings that differ from the profile's (paper, Tab. 3 and 4, Fig. 10)."""

    common: dict[str, Any]  # changes that every variant shares, such as fewer steps
    trainings: tuple[VariantConfig, ...]


MakePerceptual = Callable[[str], PerceptualDistance]  # from the name of its trunk


def shares_base(variant: Profile, profile: Profile) -> bool:
    """Whether a variant is built on the profile's own base tokenizer: neither its shape nor its training differ."""
    own = profile.tokenizer.base, profile.base_training
    return (variant.tokenizer.base, variant.base_training) == own


def is_stage_1(variant: Profile, profile: Profile, seed: int) -> bool:
    """Whether a training is stage 1 of the profile itself, so that the stage before has done it."""
    same = (variant.data, variant.tokenizer, variant.base_training, variant.distill)
    own = (profile.data, profile.tokenizer, profile.base_training, profile.distill)
    stage_1_only = variant.finetune.optimisation.steps == 0
    return same == own and stage_1_only and seed == profile.seed and profile.init_from == "scratch"


def base_settings(variant: Profile) -> dict[str, Any]:
    """Return all that a variant's own base tokenizer depends on."""
    return {
        "stage": "base",
        "seed": variant.seed,
        "data": variant.data,
        "base": variant.tokenizer.base,
        "perceptual_trunk": variant.perceptual_trunk,
        "training": variant.base_training,
    }


def variant_settings(variant: Profile, seed: int) -> dict[str, Any]:
    """Return all that a variant's training depends on beside its base tokenizer."""
    return {
        "stage": "variants",
        "seed": seed,
        "data": variant.data,
        "tokenizer": variant.tokenizer,
        "perceptual_trunk": variant.perceptual_trunk,
        "training": variant.distill,
        "finetune": variant.finetune,
    }


def train_variant_base(
    variant: Profile, images: TrainingImages, make_perceptual: MakePerceptual, fabric: Fabric, scratch: Path
) -> BaseTokenizer:
    """Train a variant's own base tokenizer, resumably; see `alit.training.base.train_base`."""
    config = variant.base_training
    return train_base(
        variant.tokenizer.base,
        config,
        images,
        make_perceptual(variant.perceptual_trunk) if config.perceptual_weight > 0 else None,
        augmentation=Augmentation(variant.data.flip, variant.data.crop_scale),
        fabric=fabric,
        seed=variant.seed,
        scratch=scratch,
    )


def train_variant(
    variant: Profile,
    base: BaseTokenizer,
    images: TrainingImages,
    make_perceptual: MakePerceptual,
    seed: int,
    *,
    fabric: Fabric,
    scratch: Path,
    base_tokens: Path,
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
    """
    augmentation = Augmentation(variant.data.flip, variant.data.crop_scale)
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
    )
    if variant.finetune.optimisation.steps:
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
        )
    return tokenizer
