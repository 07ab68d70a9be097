"""Stage 2: pixels, perception and an adversary, one iteration a step (paper, section 3).

Deviations from the published code: one discriminator and one perceptual network serve all iterations (there, eight
of each); the discriminator's parameters are in its own optimizer only; its steps build no graph of the generator;
the rollout ends at the supervised iteration; a step is one generator step with its discriminator steps before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from alit.data.imageset import ImageSet
from alit.errors import ConfigError
from alit.models.base import BaseTokens
from alit.models.distillation import Distilled
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.settings import Settings
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.distill import distill_at
from alit.training.engine.execution import PLAIN, ExecutionConfig, detached, join_parts, prepare_network, split_rows
from alit.training.engine.fabric import default_randomness
from alit.training.engine.loader import Augmentation, BatchSampler, encode_frozen, frozen_tokens
from alit.training.engine.loop import run_training
from alit.training.optim import OptimizationConfig, OptimizedModule

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

NAME = "finetune"


class FinetuneTrainingConfig(Settings):
    """Losses and optimization of stage 2 (docs/paper-or-code.md lists where the published code differs)."""

    optimization: OptimizationConfig
    l1_weight: NonNegativeFloat
    perceptual_weight: NonNegativeFloat
    quantizer_weight: NonNegativeFloat
    code_weight: NonNegativeFloat  # keeps the decoder near the base codes; published: 0
    adversarial_weight: NonNegativeFloat
    adversarial_start: float = Field(ge=0, le=1)  # share of the run without an adversary
    adversarial_full: float = Field(ge=0, le=1)  # share of the run after which the full weight applies
    adversarial_early_factor: float = Field(ge=0, le=1)  # weight between start and full; published: 0.2 of 0.8
    discriminator_channels: PositiveInt
    discriminator_layers: PositiveInt
    discriminator_steps: NonNegativeInt  # per generator step once the adversarial loss counts; published: 8
    train_base: bool
    # False trains only what comes after the token ids, so that they stay those of stage 1; see `select_trained`.
    # Settings of earlier trainings do not say.
    train_encoder: bool = Field(default=True, exclude_if=lambda value: value)


class FinetuneFromCheckpointConfig(Settings):
    """Stage 2 once more on the networks of `init_from`; all else as in the finetune section, unused from scratch."""

    steps: NonNegativeInt  # 0 takes the networks as they are
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt


def adversarial_weight(step: int, steps: int, config: FinetuneTrainingConfig) -> float:
    """Return the weight of the adversarial loss at a step: none, then a part of it, then all, as published."""
    if step < config.adversarial_start * steps:
        return 0.0
    if step < config.adversarial_full * steps:
        return config.adversarial_weight * config.adversarial_early_factor
    return config.adversarial_weight


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss: real logits belong above 1, fake ones below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adaptive_weight(content: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Return the factor that gives the adversarial loss as much gradient at `last_layer` as the content loss.

    As published: `|content gradient| / (|adversarial gradient| + 1e-4)`, between 0 and 1e4, without gradient itself,
    and each process's own.
    """
    content_gradient = torch.autograd.grad(content, last_layer, retain_graph=True)[0]
    adversarial_gradient = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0]
    return (content_gradient.norm() / (adversarial_gradient.norm() + 1e-4)).clamp(0, 1e4).detach()


class GeneratorOutput(NamedTuple):
    """The losses of the reconstruction from one iteration."""

    l1: Tensor
    perceptual: Tensor
    quantizer: Tensor
    code_error: Tensor
    adversarial: Tensor | None  # None without a discriminator
    balance: Tensor | None  # the `adaptive_weight` of the adversarial loss, without gradient


class GeneratorLoss(nn.Module):
    """The tokenizer with its losses at one iteration.

    The adversarial loss is balanced in the forward pass, since Fabric allows no `autograd.grad` on what it returned.
    """

    def __init__(
        self, tokenizer: AdaptiveTokenizer, perceptual: PerceptualDistance | None, config: FinetuneTrainingConfig
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.perceptual = perceptual
        self.config = config

    def forward(
        self, images: Tensor, iteration: int, discriminator: PatchDiscriminator | None = None
    ) -> GeneratorOutput:
        """Return the losses of images (b, 3, h, w) in [0, 1], rebuilt from the latents of `iteration` (1-based)."""
        base = self.tokenizer.base
        if self.config.train_base:
            encoded = base.encode(images)
            tokens = frozen_tokens(encoded.features, encoded.ids, base.codebook)
        else:
            tokens = encode_frozen(base, images)
        distilled, codes = self._distill(images, tokens, iteration)
        reconstruction = base.decode(codes)
        l1 = F.l1_loss(reconstruction, images)
        perceptual = l1.new_zeros(())
        if self.perceptual is not None:
            perceptual = self.perceptual(reconstruction, images).mean()
        code_error = F.mse_loss(codes, tokens.codes.detach())
        adversarial = balance = None
        if discriminator is not None:
            adversarial = -discriminator(reconstruction).mean()
            content = self.config.l1_weight * l1 + self.config.perceptual_weight * perceptual
            balance = adaptive_weight(content, adversarial, base.last_layer)
        return GeneratorOutput(l1, perceptual, distilled.quantizer_loss, code_error, adversarial, balance)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, iteration: int) -> Tensor:
        """Return only the reconstruction (b, 3, h, w), without a graph."""
        base = self.tokenizer.base
        _, codes = self._distill(images, encode_frozen(base, images), iteration)
        return base.decode(codes)

    def _distill(self, images: Tensor, tokens: BaseTokens, iteration: int) -> tuple[Distilled, Tensor]:
        """Roll out to `iteration`; return it and the codes (b, n, z) for the base decoder."""
        distillation, codebook = self.tokenizer.distillation, self.tokenizer.base.codebook
        distilled = distill_at(distillation, images, tokens, codebook, iteration, decode=(iteration,))
        assert distilled.prediction is not None
        return distilled, distilled.prediction.codes


class DiscriminatorOutput(NamedTuple):
    """The discriminator's loss and its mean logits."""

    loss: Tensor
    real: Tensor
    fake: Tensor


class DiscriminatorLoss(nn.Module):
    """The discriminator with its loss; one forward pass holds both kinds of images, as DDP requires."""

    uses_every_parameter = True

    def __init__(self, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Tensor) -> DiscriminatorOutput:
        """Return the loss on images and reconstructions (b, 3, h, w); batch norm sees each kind by itself."""
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        loss = hinge_loss(real_logits, fake_logits)
        return DiscriminatorOutput(loss, real_logits.mean().detach(), fake_logits.mean().detach())


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without reaching its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


class FinetuneStage:
    """See `train_finetune`."""

    name = NAME

    def __init__(
        self,
        tokenizer: AdaptiveTokenizer,
        discriminator: PatchDiscriminator,
        perceptual: PerceptualDistance | None,
        images: ImageSet,
        config: FinetuneTrainingConfig,
        *,
        augmentation: Augmentation,
        fabric: "Fabric",
        seed: int,
        execution: ExecutionConfig = PLAIN,
    ) -> None:
        self.tokenizer = tokenizer
        self.micro_batch = execution.micro_batch.finetune
        prepare_network(tokenizer, execution)
        self.discriminator = discriminator
        self.config = config
        self.fabric = fabric
        self.seed = seed
        size = config.optimization.batch_size
        where: dict[str, Any] = {"fabric": fabric, "seed": seed, "workers": execution.workers}
        self.sampler = BatchSampler(images, size, augmentation, stage=NAME, **where)
        stage = f"{NAME} discriminator"
        self.discriminator_sampler = BatchSampler(images, size, augmentation, stage=stage, **where)
        perceptual = perceptual if config.perceptual_weight > 0 else None
        self.generator = GeneratorLoss(tokenizer, perceptual, config)
        trained = select_trained(tokenizer, config)
        self.optimized = OptimizedModule(fabric, self.generator, config.optimization, trained)
        adversary = DiscriminatorLoss(discriminator)
        convolutional = config.optimization.model_copy(update={"optimizer": "adamw"})
        self.optimized_discriminator = OptimizedModule(fabric, adversary, convolutional, average=False)
        self.iterations = tokenizer.config.iterations
        self.l1_columns = tuple(f"l1_{t + 1}" for t in range(self.iterations))
        self.columns: tuple[str, ...] = (
            *("loss", "l1", "perceptual", "quantizer", "code_error", "adversarial", "adaptive_weight"),
            *("discriminator", "logits_real", "logits_fake", "grad_norm"),
            *self.l1_columns,
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take the discriminator's steps and then one of the generator, all at the same iteration."""
        iteration = step % self.iterations + 1
        weight = adversarial_weight(step, self.config.optimization.steps, self.config)
        values = self._train_discriminator(step, iteration) if weight > 0 else {}
        generated, loss = self.compute_gradient(self.sampler(step).images, iteration, weight)
        if generated.adversarial is not None and generated.balance is not None:
            values |= {"adversarial": generated.adversarial, "adaptive_weight": generated.balance}
        return {
            **values,
            "loss": loss,
            "l1": generated.l1,
            "perceptual": generated.perceptual,
            "quantizer": generated.quantizer,
            "code_error": generated.code_error,
            "grad_norm": self.optimized.take_step(step),
            self.l1_columns[iteration - 1]: generated.l1,
        }

    def compute_gradient(self, images: Tensor, iteration: int, weight: float) -> tuple[GeneratorOutput, Tensor]:
        """Accumulate the generator's gradient, a micro-batch at a time; return its losses and their weighted sum.

        With `weight` above zero the discriminator judges, frozen. Each micro-batch balances its adversarial loss by
        itself, as each process does.
        """
        parts, totals = [], []
        rows = split_rows(len(images), self.micro_batch)
        for part in rows:
            with frozen(self.discriminator), self.optimized.accumulating(part):
                discriminator = self.discriminator if weight > 0 else None
                generated: GeneratorOutput = self.optimized.module(part.of(images), iteration, discriminator)
                loss = self._total(generated, weight)
                self.optimized.backward(loss, part)
            parts.append(detached(generated))
            totals.append(part.share * loss.detach())
        return join_parts(parts, rows), torch.stack(totals).sum()

    def _total(self, generated: GeneratorOutput, weight: float) -> Tensor:
        """Return the weighted sum of the losses, `weight` being that of the adversarial one."""
        config = self.config
        loss = (
            config.l1_weight * generated.l1
            + config.perceptual_weight * generated.perceptual
            + config.quantizer_weight * generated.quantizer
            + config.code_weight * generated.code_error
        )
        if generated.adversarial is not None and generated.balance is not None:
            loss = loss + weight * generated.balance * generated.adversarial
        return loss

    def _train_discriminator(self, step: int, iteration: int) -> dict[str, Tensor]:
        """Take the discriminator's steps, each on other images, and return the scalars of the last one."""
        values: dict[str, Tensor] = {}
        count = self.config.discriminator_steps
        for turn in range(count):
            images = self.discriminator_sampler(step * count + turn).images
            judged = self.compute_discriminator_gradient(images, iteration)
            self.optimized_discriminator.take_step(step)
            values = {"discriminator": judged.loss, "logits_real": judged.real, "logits_fake": judged.fake}
        return values

    def compute_discriminator_gradient(self, images: Tensor, iteration: int) -> DiscriminatorOutput:
        """Accumulate the discriminator's gradient, a micro-batch at a time, and return its loss without graph."""
        parts = []
        rows = split_rows(len(images), self.micro_batch)
        for part in rows:
            real = part.of(images)
            with self.fabric.autocast():
                fake = self.generator.reconstruct(real, iteration)
            with self.optimized_discriminator.accumulating(part):
                output: DiscriminatorOutput = self.optimized_discriminator.module(real, fake)
                self.optimized_discriminator.backward(output.loss, part)
            parts.append(detached(output))
        return join_parts(parts, rows)

    def state(self) -> dict[str, Any]:
        """Return both networks and their optimizers."""
        networks = {"tokenizer": self.tokenizer, "discriminator": self.discriminator}
        generator, discriminator = self.optimized, self.optimized_discriminator
        return {**networks, **generator.state("tokenizer"), **discriminator.state("discriminator")}

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of the images of a generator step."""
        return self.sampler.image_ids(step)


DECODING = {"decoder", "latents_in", "post_quant_conv"}  # parts of base tokenizers that only decode, by their names


def select_trained(tokenizer: AdaptiveTokenizer, config: FinetuneTrainingConfig) -> list[nn.Parameter]:
    """Return the parameters that stage 2 trains, and switch off the gradients of the others.

    The base codebook never trains, as published. A frozen base keeps the gradient at its last layer, where the
    adversarial loss is balanced, but that layer is not among those returned.

    With `train_encoder: false` neither the recurrent encoder with its quantizer nor what the base encodes with trains:
    a deviation from the paper, as the second stage of TiTok (Yu et al. 2024, arXiv:2406.07550) has it. A linear path,
    which encodes too, stays as it is. Nothing before the ids keeps a graph, which is most of a step.
    """
    base, distillation = tokenizer.base, tokenizer.distillation
    base.requires_grad_(config.train_base)
    if distillation.linear is not None:  # training leaves it as it is
        distillation.linear.requires_grad_(False)
    quantizer = getattr(base, "quantizer", None)  # a VAE has none
    if quantizer is not None:
        quantizer.requires_grad_(False)
    if not config.train_encoder:
        distillation.encoder.requires_grad_(False)
        if distillation.quantizer is not None:
            distillation.quantizer.requires_grad_(False)
        for name, parameter in base.named_parameters():
            if DECODING.isdisjoint(name.split(".")):
                parameter.requires_grad_(False)
    trained = [parameter for parameter in tokenizer.parameters() if parameter.requires_grad]
    base.last_layer.requires_grad_(True)
    return trained


def train_finetune(
    tokenizer: AdaptiveTokenizer,
    config: FinetuneTrainingConfig,
    images: ImageSet,
    perceptual: PerceptualDistance | None,
    *,
    augmentation: Augmentation,
    fabric: "Fabric",
    seed: int,
    scratch: Path,
    execution: ExecutionConfig = PLAIN,
) -> None:
    """Train `tokenizer`, the result of stage 1, in place and resumably; leave it averaged, in eval mode.

    Args:
        tokenizer: after stage 1.
        config: losses and optimization.
        images: the training set.
        perceptual: may be None where its weight is zero.
        augmentation: random views.
        fabric: see `alit.training.engine.fabric.build_fabric`.
        seed: of the profile.
        scratch: from `alit.training.engine.checkpoint.resume_dir`.
        execution: how to compute it on this machine. Three things depend on the micro-batches, as they do on the number
            of processes: the adversarial loss is balanced and the discriminator normalizes within each, and a VAE's
            posterior samples come from torch's default generator.

    Raises:
        ConfigError: the images are too small for so many discriminator layers.
    """
    smallest = PatchDiscriminator.smallest_image(config.discriminator_layers)
    if tokenizer.image_size < smallest:
        raise ConfigError(
            f"expected images of at least {smallest} pixels for {config.discriminator_layers} discriminator layers, "
            f"found {tokenizer.image_size}; set fewer discriminator_layers"
        )
    with default_randomness(seed, NAME, "initial weights"):
        discriminator = PatchDiscriminator(config.discriminator_channels, config.discriminator_layers)
    stage = FinetuneStage(
        tokenizer.train(),
        discriminator,
        perceptual,
        images,
        config,
        augmentation=augmentation,
        fabric=fabric,
        seed=seed,
        execution=execution,
    )
    run_training(stage, fabric=fabric, config=config.optimization, scratch=scratch, description="stage 2")
    stage.optimized.use_average()
    tokenizer.requires_grad_(True).eval()
