"""What a run has otherwise than the paper: its settings beside those of `configs/paper.yaml`."""

from collections.abc import Callable
from typing import NamedTuple

from alit.config.profile import Profile
from alit.tasks.registry import TaskModelConfig
from alit.training.optim import OptimisationConfig


class Difference(NamedTuple):
    """One matter in which a run departs from the paper."""

    matter: str
    paper: str
    here: str


def differences(here: Profile, paper: Profile) -> tuple[Difference, ...]:
    """Return every matter in which two profiles differ, in the order of the pipeline."""
    told = ((matter, tell(paper), tell(here)) for matter, tell in MATTERS.items())
    return tuple(Difference(*each) for each in told if each[1] != each[2])


def _sets(profile: Profile, role: str) -> str:
    names = [
        part.name + (f" ({part.images:,})" if part.images else "") for part in profile.data.sets if part.role == role
    ]
    return ", ".join(names)


def _base(profile: Profile) -> str:
    base = profile.tokenizer.base
    codes = f"{base.codebook_size:,} codes of" if base.codebook_size else "continuous,"
    stem = f", {base.stem} x {base.stem} pixels folded into channels" if base.stem > 1 else ""
    return (
        f"{base.kind} of patch {base.patch}, {profile.tokenizer.image_tokens} image tokens, {codes} {base.code_size} "
        f"numbers, {base.channels} channels{stem}"
    )


def _latents(profile: Profile) -> str:
    lengths, latent = profile.tokenizer.lengths, profile.tokenizer.distillation
    kind = f"{latent.latent_codebook_size:,} codes of" if latent.quantize else "continuous, of"
    return f"{lengths[0]} to {lengths[-1]} in {len(lengths)} steps, {kind} {latent.latent_code_size} numbers"


def _networks(profile: Profile) -> str:
    latent = profile.tokenizer.distillation
    return f"{latent.layers} + {latent.layers} layers, width {latent.width}, {latent.heads} heads"


def _visits(optimisation: OptimisationConfig) -> str:
    return f"{optimisation.steps * optimisation.batch_size:,} image visits, {optimisation.batch_size} a step"


def _supervision(profile: Profile) -> str:
    distill = profile.distill
    count = distill.supervised_iterations
    parts = ["all iterations at once" if count is None else f"{count} sampled iteration a step"]
    parts.append("cross-entropy of the base ids" if any(distill.cross_entropy_weights) else "no cross-entropy")
    if distill.unlock_share:
        parts.append(f"iterations unlock over {distill.unlock_share:.0%} of the run")
    if distill.continuous_share:
        parts.append(f"quantised after {distill.continuous_share:.0%} of it")
    return ", ".join(parts)


def _adversary(profile: Profile) -> str:
    finetune = profile.finetune
    absent = finetune.adversarial_start >= 1 or finetune.adversarial_weight == 0
    return (
        "none" if absent else f"from {finetune.adversarial_start:.0%} of stage 2, weight {finetune.adversarial_weight}"
    )


def _models(kind: str) -> Callable[[Profile], str]:
    def tell(profile: Profile) -> str:
        found = [model for model in profile.task_models if model.kind == kind]
        return ", ".join(map(_model, found)) or "none"

    return tell


def _model(model: TaskModelConfig) -> str:
    lessons = f", trained on {model.train_on}" if model.train_on else ""
    return f"{model.architecture} at {model.input_size} px{lessons}"


MATTERS: dict[str, Callable[[Profile], str]] = {
    "Training images": lambda profile: _sets(profile, "train"),
    "Evaluation images": lambda profile: _sets(profile, "evaluate"),
    "Images that check depth networks": lambda profile: _sets(profile, "check") or "none",
    "Image size": lambda profile: f"{profile.data.image_size} px",
    "Base tokenizer": _base,
    "Latent tokens": _latents,
    "Encoder and decoder": _networks,
    "What the decoder predicts": lambda profile: profile.tokenizer.distillation.prediction,
    "Stage 1": lambda profile: _visits(profile.distill.optimisation),
    "Supervision in stage 1": _supervision,
    "Halting in stage 1": lambda profile: "on" if profile.distill.halting else "off",
    "Stage 2": lambda profile: _visits(profile.finetune.optimisation),
    "Perceptual network of stage 2": lambda profile: profile.perceptual_trunk,
    "Adversary": _adversary,
    "Classifiers": _models("classifier"),
    "Depth networks": _models("depth"),
    "Captioners": _models("caption"),
    "Features": _models("features"),
}
