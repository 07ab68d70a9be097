"""Floating-point operations of whole trainings, counted by torch on tensors without contents: nothing is computed."""

import json
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from alit.models.loading import build_base
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.tokenizer.cost import count_flop
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import BaseObjective
from alit.training.distill import DistillObjective, supervised_at
from alit.training.engine.execution import ExecutionConfig, prepare_network
from alit.training.engine.loader import encode_frozen
from alit.training.finetune import DiscriminatorLoss, GeneratorLoss, adversarial_weight, frozen, select_trained
from alit.training.variants import TrainingSettings

Network = TypeVar("Network", bound=nn.Module)
_COUNTED = 16  # steps whose drawn iterations are averaged, where a step does not supervise all


class TrainingCost(NamedTuple):
    """Floating-point operations (two per multiply-add) of a training, by stage."""

    base: float
    distill: float  # stage 1
    finetune: float  # stage 2

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self)


MakeTrunk = Callable[[str], nn.Module]  # from the name of a perceptual trunk; its weights do not matter


class CostCounter:
    """Counts trainings; what several have in common is counted once.

    Of stage 1 and 2 all forward and backward passes count, the frozen base tokenizer's and the perceptual network's
    among them, and what `execution` computes twice. Loading, optimizers and moving averages do not.
    """

    def __init__(self, make_trunk: MakeTrunk, execution: ExecutionConfig) -> None:
        self._make_trunk, self._execution = make_trunk, execution
        self._known: dict[str, float] = {}

    def __call__(self, settings: TrainingSettings) -> TrainingCost:
        """Return the cost of all stages of a training; a stage without steps costs nothing."""
        return TrainingCost(self.base(settings), self.distill(settings), self.finetune(settings))

    def base(self, settings: TrainingSettings) -> float:
        """Return the cost of training the base tokenizer: nothing where it is a published one."""
        config = settings.base_training
        images = config.optimization.steps * config.optimization.batch_size
        if not images or settings.tokenizer.base.pretrained is not None:
            return 0.0

        def count() -> float:
            base = empty(lambda: build_base(settings.tokenizer.base)).train()
            objective = BaseObjective(base, self._perceptual(settings, config.perceptual_weight), config)
            return count_flop(lambda: objective(_image(settings)).total.backward())

        return images * self._once("base", settings, count)

    def distill(self, settings: TrainingSettings) -> float:
        """Return the cost of stage 1, whose base tokens are computed for each crop."""
        config = settings.distill
        if not config.optimization.steps:
            return 0.0

        def count() -> float:
            tokenizer = self._tokenizer(settings)
            tokenizer.base.requires_grad_(False)
            objective = DistillObjective(tokenizer.distillation, config)
            image, generator = _image(settings), torch.Generator()

            @cache
            def per_image(iterations: tuple[int, ...]) -> float:
                def run() -> None:
                    with torch.no_grad():
                        tokens = encode_frozen(tokenizer.base, image)
                    codebook = tokenizer.base.codebook
                    objective(image, tokens, codebook, iterations, True, generator).total.backward()

                return count_flop(run)

            steps = config.optimization.steps
            sampled = range(0, steps, max(1, steps // _COUNTED))
            drawn = [supervised_at(step, config, settings.tokenizer.iterations, settings.seed) for step in sampled]
            return sum(map(per_image, drawn)) / len(drawn)

        images = config.optimization.steps * config.optimization.batch_size
        return images * self._once("distill", settings, count)

    def finetune(self, settings: TrainingSettings) -> float:
        """Return the cost of stage 2: each step supervises one iteration, in turn."""
        config = settings.finetune
        steps, size = config.optimization.steps, config.optimization.batch_size
        if not steps:
            return 0.0
        judged = sum(adversarial_weight(step, steps, config) > 0 for step in range(steps))

        def alone() -> float:
            return self._generator(settings, judged=False)

        def with_adversary() -> float:
            return self._generator(settings, judged=True) + config.discriminator_steps * self._discriminator(settings)

        cost = (steps - judged) * size * self._once("generator", settings, alone) if judged < steps else 0.0
        return cost + (judged * size * self._once("players", settings, with_adversary) if judged else 0.0)

    def _generator(self, settings: TrainingSettings, *, judged: bool) -> float:
        config, tokenizer = settings.finetune, self._tokenizer(settings)
        select_trained(tokenizer, config)
        loss = GeneratorLoss(tokenizer, self._perceptual(settings, config.perceptual_weight), config)
        discriminator = _discriminator(settings) if judged else None

        def run(iteration: int) -> None:
            if discriminator is None:
                found = loss(_image(settings), iteration)
                (found.l1 + found.perceptual + found.quantizer).backward()
                return
            with frozen(discriminator):
                found = loss(_image(settings), iteration, discriminator)
                (found.l1 + found.perceptual + found.quantizer + found.balance * found.adversarial).backward()

        return _mean(run, tokenizer.config.iterations)

    def _discriminator(self, settings: TrainingSettings) -> float:
        tokenizer = self._tokenizer(settings)
        generator = GeneratorLoss(tokenizer, None, settings.finetune)
        judge = DiscriminatorLoss(_discriminator(settings))

        def run(iteration: int) -> None:
            image = _image(settings)
            judge(image, generator.reconstruct(image, iteration)).loss.backward()

        return _mean(run, tokenizer.config.iterations)

    def _tokenizer(self, settings: TrainingSettings) -> AdaptiveTokenizer:
        tokenizer = empty(lambda: AdaptiveTokenizer(settings.tokenizer)).train()
        prepare_network(tokenizer, self._execution)
        return tokenizer

    def _perceptual(self, settings: TrainingSettings, weight: float) -> PerceptualDistance | None:
        if weight == 0:
            return None
        return PerceptualDistance(empty(lambda: self._make_trunk(settings.perceptual_trunk)))

    def _once(self, what: str, settings: TrainingSettings, count: Callable[[], float]) -> float:
        """Return the operations per image, counted once for all trainings that agree in what they depend on."""
        key = json.dumps([what, _per_image(what, settings)], sort_keys=True)
        if key not in self._known:
            with FakeTensorMode(allow_non_fake_inputs=True):
                self._known[key] = count()
        return self._known[key]


def _per_image(what: str, settings: TrainingSettings) -> object:
    """Return all settings that the operations per image depend on, without counts of steps and learning rates."""
    section = {"base": settings.base_training, "distill": settings.distill}.get(what, settings.finetune)
    content = section.model_dump(mode="json", exclude={"optimization"})
    networks = settings.tokenizer.base if what == "base" else settings.tokenizer
    return [content, networks.model_dump(mode="json"), settings.perceptual_trunk]


def _discriminator(settings: TrainingSettings) -> PatchDiscriminator:
    config = settings.finetune
    return empty(lambda: PatchDiscriminator(config.discriminator_channels, config.discriminator_layers))


def empty(build: Callable[[], Network]) -> Network:
    """Build a network whose weights have shapes and no contents, within a `FakeTensorMode`."""
    with unset_fake_temporarily(), torch.device("meta"):
        network = build()
    for part in network.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(torch.empty(value.shape, dtype=value.dtype), value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = torch.empty(value.shape, dtype=value.dtype)
    return network


def _image(settings: TrainingSettings) -> Tensor:
    return torch.zeros(1, 3, settings.tokenizer.image_size, settings.tokenizer.image_size)


def _mean(run: Callable[[int], None], iterations: int) -> float:
    return sum(count_flop(lambda: run(t)) for t in range(1, iterations + 1)) / iterations  # noqa: B023 - called at once
