"""The task models and the losses' trunk that a profile takes ready-made."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alit.tasks.weights import FINE_TUNE, NAMED, TRAIN, TaskModelConfig, published_weights
from experiments.needs.need import LOSS_STAGES, TASK_STAGES, Need
from experiments.needs.published import published_need


def network_needs(models: Sequence[TaskModelConfig], profile: dict[str, Any], root: Path) -> Iterator[Need]:
    """Yield one need per network whose weights are published or lie on this machine."""
    for model in models:
        if model.weights in (TRAIN, "shared"):
            continue
        tuned = model.weights == FINE_TUNE
        local, weights = model.local_weights, published_weights(model.architecture)
        if local is not None:
            there = (root / local).exists()
            remedy = f"expected {', '.join(NAMED)} or a file or folder as weights, found {model.weights}"
            found = "on this machine" if there else "none"
            yield Need("network", model.name, model.weights, found, "" if there else remedy, TASK_STAGES)
        elif weights is not None:
            instead = "" if tuned else f", or name {weights.replaced_by} in weights of the task model"
            stages = frozenset({"task_models"}) if tuned else TASK_STAGES
            yield published_need("network", model.name, weights, instead, stages)
    trunk = str(profile.get("perceptual_trunk"))
    weights = published_weights(trunk)
    if weights is not None and trains_on_pixels(profile):
        yield published_need("network", f"{trunk} (losses)", weights, "", LOSS_STAGES)


def trains_on_pixels(profile: dict[str, Any]) -> bool:
    """Whether any training of the profile computes a perceptual loss: a base tokenizer, stage 2, or a variant."""
    further = (profile.get("finetune_from_checkpoint") or {}).get("steps", 0)
    variants = (profile.get("variants") or {}).get("trainings")
    return profile.get("init_from", "scratch") == "scratch" or bool(further) or bool(variants)
