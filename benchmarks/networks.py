"""What benchmarks run: a profile's settings, its stages with untrained networks, and noise to feed them."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from alit.config import Profile, load_profile
from alit.models.base import build_base
from alit.models.distillation import TokenizerConfig
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.paths import project_root
from alit.tasks.perceptual import build_trunk
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training import finetune
from alit.training.base import BaseStage
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation


class NoiseImages:
    """As many noise images as a benchmark needs."""

    def __init__(self, count: int, size: int) -> None:
        self.tensor = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.manifest = pd.DataFrame({"image_id": range(count)})

    def __len__(self) -> int:
        return len(self.tensor)

    def images(self, indices: Tensor) -> Tensor:
        """Return images (b, 3, h, w) in [0, 1]."""
        return self.tensor[indices]


def read_profile(name: str) -> Profile:
    """Return the settings of a file in configs/."""
    return load_profile(project_root(Path(__file__).parent) / "configs" / f"{name}.yaml")


def sizes_of(config: TokenizerConfig) -> dict[str, Any]:
    """Return what a result says of the networks that it was measured with: profiles change."""
    return {
        "image_size": config.image_size,
        "base": f"{config.base.kind}, {config.base.channels} channels x {config.base.multipliers}",
        "width": config.distillation.width,
        "layers": config.distillation.layers,
        "lengths": config.lengths,
    }


def base_stage(profile: Profile) -> BaseStage:
    """Return a profile's training of the base tokenizer."""
    return BaseStage(
        build_base(profile.tokenizer.base),
        PerceptualDistance(build_trunk(profile.perceptual_trunk)),
        NoiseImages(4 * profile.base_training.optimization.batch_size, profile.tokenizer.image_size),
        profile.base_training,
        **_surroundings(),
    )


def finetune_stage(profile: Profile, discriminator_steps: int) -> finetune.FinetuneStage:
    """Return a profile's stage 2 with an adversary from the first step on."""
    changes = {"adversarial_start": 0.0, "adversarial_full": 0.0, "discriminator_steps": discriminator_steps}
    config = profile.finetune.model_copy(update=changes)
    return finetune.FinetuneStage(
        AdaptiveTokenizer(profile.tokenizer).train(),
        PatchDiscriminator(config.discriminator_channels, config.discriminator_layers),
        PerceptualDistance(build_trunk(profile.perceptual_trunk)),
        NoiseImages(4 * config.optimization.batch_size, profile.tokenizer.image_size),
        config,
        **_surroundings(),
    )


def _surroundings() -> dict[str, Any]:
    return {"augmentation": Augmentation(False, 1.0), "fabric": build_fabric("cpu", 1), "seed": 0}
