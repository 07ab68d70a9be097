"""Stage 1: distill base tokens into latents at every length, base frozen (paper, section 3; facts, 2.9)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from lightning_fabric import Fabric
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from alit.errors import ConfigError
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.distillation import Distillation, Distilled, Halting, TokenizerConfig
from alit.settings import Settings
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import default_randomness, derive_generator, gather_batch
from alit.training.engine.loader import Augmentation, BatchSampler, TokenSource, TrainingImages, token_source
from alit.training.engine.loop import run_training
from alit.training.optim import (
    DeadCodeReset,
    OptimizationConfig,
    OptimizedModule,
    perplexity,
    switch_step,
    unlocked_iterations,
)


class DistillTrainingConfig(Settings):
    """Stage 1: distill the base tokens at every iteration (paper, section 3; published-code facts, 2.9)."""

    optimization: OptimizationConfig
    cross_entropy_weights: tuple[NonNegativeFloat, ...]  # lambda, one per iteration
    code_weight: NonNegativeFloat  # squared error of the codes; with prediction: regression, lambda weights it instead
    quantizer_weight: NonNegativeFloat
    label_smoothing: float = Field(ge=0, lt=1)  # the paper's "smooth cross-entropy"; published code: 0
    supervised_iterations: PositiveInt | None  # sampled per step; null supervises all, as published
    unlock_share: float = Field(ge=0, le=1)  # share of the run over which iterations unlock; published: 0
    continuous_share: float = Field(ge=0, le=1)  # share of the run before the quantizer is switched in; published: 0
    expire_every: NonNegativeInt  # steps between re-seeding unused latent codes; 0 never does
    halting: bool  # mask well-distilled image tokens between iterations


def distill_at(
    distillation: Distillation,
    images: Tensor,
    base_tokens: BaseTokens,
    codebook: Tensor | None,
    iteration: int,
    *,
    decode: Collection[int],
    quantize: bool = True,
) -> Distilled:
    """Roll out to `iteration` (1-based) and no further, and return it, without its image tokens."""
    rollout = distillation.iterate(images, base_tokens, codebook, last=iteration, decode=decode, quantize=quantize)
    return next(distilled for distilled in rollout if distilled.iteration == iteration)


class IterationLoss(NamedTuple):
    """Stage 1's loss of one iteration."""

    total: Tensor
    cross_entropy: Tensor
    code_error: Tensor
    quantizer: Tensor


def iteration_loss(
    distilled: Distilled, targets: BaseTokens, config: DistillTrainingConfig, *, regression: bool
) -> IterationLoss:
    """Return stage 1's loss of one decoded iteration (published-code facts, 2.9).

    VQGAN: lambda * cross-entropy of the base ids + code weight * squared error of the codes + quantizer loss. With
    `regression` (VAE, or codes regressed directly): lambda * squared error of the codes + quantizer loss. lambda is
    the iteration's `cross_entropy_weights`. Label smoothing is the paper's; the published code has none.
    """
    assert distilled.prediction is not None
    weight = config.cross_entropy_weights[distilled.iteration - 1]
    code_error = F.mse_loss(distilled.prediction.codes, targets.codes)
    quantizer = distilled.quantizer_loss
    if regression:
        total = weight * code_error + config.quantizer_weight * quantizer
        return IterationLoss(total, code_error.new_zeros(()), code_error, quantizer)
    assert targets.ids is not None
    cross_entropy = F.cross_entropy(
        rearrange(distilled.prediction.scores, "b n v -> (b n) v"),
        rearrange(targets.ids, "b n -> (b n)"),
        label_smoothing=config.label_smoothing,
    )
    total = weight * cross_entropy + config.code_weight * code_error + config.quantizer_weight * quantizer
    return IterationLoss(total, cross_entropy, code_error, quantizer)


class DistillLosses(NamedTuple):
    """One batch's losses at the supervised iterations, and what keeping the codebook in use needs."""

    total: Tensor
    cross_entropy: Tensor  # (iterations,); zero where codes are regressed
    code_error: Tensor  # (iterations,)
    quantizer: Tensor  # (iterations,)
    raw_codes: Tensor  # (b, k, z) of the last iteration, before the quantizer
    ids: Tensor | None  # (b, all k) of the supervised iterations


class DistillObjective(nn.Module):
    """The sum of `iteration_loss` over the supervised iterations, rolled out as far as the last of them."""

    def __init__(self, distillation: Distillation, config: DistillTrainingConfig) -> None:
        super().__init__()
        self.distillation = distillation
        self.config = config

    def forward(
        self,
        images: Tensor,
        base_tokens: BaseTokens,
        codebook: Tensor | None,
        iterations: tuple[int, ...],
        quantize: bool,
        generator: torch.Generator | None,
    ) -> DistillLosses:
        """Return the losses of images (b, 3, h, w) in [0, 1]; see `Distillation.iterate` for the arguments."""
        losses, ids = [], []
        halting = Halting() if self.config.halting else None
        rollout = self.distillation.iterate(
            images,
            base_tokens,
            codebook,
            last=iterations[-1],
            decode=iterations,
            quantize=quantize,
            halting=halting,
            generator=generator,
        )
        regression = self.distillation.config.distillation.prediction == "regression"
        for distilled in rollout:
            if distilled.iteration in iterations:
                losses.append(iteration_loss(distilled, base_tokens, self.config, regression=regression))
                if distilled.ids is not None:
                    ids.append(distilled.ids)
        return DistillLosses(
            torch.stack([loss.total for loss in losses]).sum(),
            torch.stack([loss.cross_entropy for loss in losses]).detach(),
            torch.stack([loss.code_error for loss in losses]).detach(),
            torch.stack([loss.quantizer for loss in losses]).detach(),
            distilled.raw_codes.detach(),
            torch.cat(ids, dim=1) if ids else None,
        )


NAME = "distill"


def choose_iterations(unlocked: int, count: int | None, generator: torch.Generator) -> tuple[int, ...]:
    """Return the iterations (1-based, ascending) that a step supervises: `count` of the unlocked ones, or all.

    The newest is among them in at least a third of the steps, so that what opens late is still learned; the others
    are equally likely. Published: all, always (an unused option takes a random subset).
    """
    if count is None or count >= unlocked:
        return tuple(range(1, unlocked + 1))
    draw = float(torch.rand((), generator=generator))
    newest = draw < max(1 / 3, count / unlocked)
    others = torch.randperm(unlocked - 1, generator=generator)[: count - newest] + 1
    return tuple(sorted([*others.tolist(), *([unlocked] if newest else [])]))


class DistillStage:
    """See `train_distillation`."""

    name = NAME

    def __init__(
        self,
        tokenizer: AdaptiveTokenizer,
        config: DistillTrainingConfig,
        sampler: BatchSampler,
        tokens: TokenSource,
        *,
        fabric: Fabric,
        seed: int,
    ) -> None:
        self.distillation = tokenizer.distillation
        self.iterations = tokenizer.config.iterations
        self.config = config
        self.fabric = fabric
        self.seed = seed
        self.sampler = sampler
        self.tokens = tokens
        codebook = tokenizer.base.codebook
        self.codebook = None if codebook is None else codebook.detach()
        objective = DistillObjective(self.distillation, config)
        self.learner = OptimizedModule(fabric, objective, config.optimization)
        quantizer = self.distillation.quantizer
        self.care = None if quantizer is None else DeadCodeReset(quantizer, self.learner, fabric)
        self.switch = switch_step(config.optimization.steps, config.continuous_share)
        self.code_columns = tuple(f"code_error_{t + 1}" for t in range(self.iterations))
        self.columns: tuple[str, ...] = (
            *("loss", "cross_entropy", "quantizer", "perplexity", "unlocked", "grad_norm"),
            *self.code_columns,
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take one step on one batch."""
        if step == self.switch > 0 and self.care is not None:
            self._start_codebook(step, self.care)
        unlocked = self._unlocked(step)
        generator = derive_generator(self.seed, NAME, "iterations", step)
        iterations = choose_iterations(unlocked, self.config.supervised_iterations, generator)
        batch = self.sampler(step)
        losses: DistillLosses = self.learner.module(
            batch.images,
            self.tokens(batch),
            self.codebook,
            iterations,
            step >= self.switch,
            self._halting_generator(step),
        )
        values = {
            "loss": losses.total.detach(),
            "cross_entropy": losses.cross_entropy.mean(),
            "quantizer": losses.quantizer.mean(),
            "unlocked": torch.tensor(float(unlocked), device=self.fabric.device),
            "grad_norm": self.learner.update(losses.total, step),
        }
        for iteration, error in zip(iterations, losses.code_error.unbind(), strict=True):
            values[self.code_columns[iteration - 1]] = error
        if self.care is not None and losses.ids is not None:
            values["perplexity"] = perplexity(losses.ids, self.care.quantizer.size)
            self._care(step, losses.ids, losses.raw_codes, self.care)
        return values

    def _unlocked(self, step: int) -> int:
        return unlocked_iterations(step, self.config.optimization.steps, self.iterations, self.config.unlock_share)

    def _halting_generator(self, step: int) -> torch.Generator | None:
        if not self.config.halting:
            return None
        rank = self.fabric.global_rank
        return derive_generator(self.seed, NAME, "halting", step, rank, device=self.fabric.device)

    def _care(self, step: int, ids: Tensor, raw_codes: Tensor, care: DeadCodeReset) -> None:
        """Count the codes, and expire_codes the dead once a whole period has passed since the switch or the last time."""
        care.count(ids)
        quantized_steps = step + 1 - self.switch
        if self.config.expire_every and quantized_steps % self.config.expire_every == 0:
            care.expire_codes(raw_codes, derive_generator(self.seed, NAME, "revive", step))

    @torch.no_grad()
    def _start_codebook(self, step: int, care: DeadCodeReset) -> None:
        """Draw the codebook from raw codes of the coming batches, several times as many as there are codes."""
        vectors: list[Tensor] = []
        while sum(map(len, vectors)) < 4 * care.quantizer.size:
            batch = self.sampler(step + len(vectors))
            with self.fabric.autocast():
                distilled = distill_at(
                    self.distillation,
                    batch.images,
                    self.tokens(batch),
                    self.codebook,
                    self._unlocked(step),
                    decode=(),
                    quantize=False,
                )
            raw_codes = gather_batch(self.fabric, distilled.raw_codes.float())
            vectors.append(rearrange(raw_codes, "b k z -> (b k) z"))
        care.init_codebook(torch.cat(vectors), derive_generator(self.seed, NAME, "codebook"))

    def state(self) -> dict[str, Any]:
        """Return the trained network, its optimizer and the counts of code use."""
        care = {} if self.care is None else {"codebook_care": self.care}
        return {"distillation": self.distillation, **self.learner.state("distillation"), **care}

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of a step's images."""
        return self.sampler.image_ids(step)


def train_distillation(
    tokenizer: TokenizerConfig,
    config: DistillTrainingConfig,
    base: BaseTokenizer,
    images: TrainingImages,
    *,
    augmentation: Augmentation,
    fabric: Fabric,
    seed: int,
    scratch: Path,
    base_tokens: Path | None = None,
) -> AdaptiveTokenizer:
    """Train the distillation on a frozen base, resumably; return both, averaged where asked for, in eval mode.

    Args:
        tokenizer: the settings of the networks.
        config: losses and optimization.
        base: the trained base tokenizer.
        images: the training set.
        augmentation: random views; without crops, base tokens are computed once.
        fabric: see `alit.training.engine.fabric.build_fabric`.
        seed: of the profile.
        scratch: from `alit.training.engine.checkpoint.resume_dir`.
        base_tokens: folder of the cache of base tokens, where trainings share one; by default below `scratch`.

    Raises:
        ConfigError: there are fewer cross-entropy weights than iterations.
    """
    weights = len(config.cross_entropy_weights)
    if weights < tokenizer.iterations:
        raise ConfigError(
            f"expected cross_entropy_weights for {tokenizer.iterations} iterations, found {weights}; add the others"
        )
    with default_randomness(seed, NAME, "initial weights"):
        model = AdaptiveTokenizer(tokenizer)
    model.base.load_state_dict(base.state_dict())
    model.base.eval().requires_grad_(False)
    fabric.to_device(model)
    model.distillation.train()
    sampler = BatchSampler(images, config.optimization.batch_size, augmentation, fabric=fabric, seed=seed, stage=NAME)
    cache = base_tokens or scratch / "base_tokens"
    tokens = token_source(model.base, tokenizer, images, augmentation, fabric=fabric, folder=cache)
    stage = DistillStage(model, config, sampler, tokens, fabric=fabric, seed=seed)
    run_training(stage, fabric=fabric, config=config.optimization, scratch=scratch, description="stage 1")
    if stage.learner.average is not None:
        stage.learner.average.copy_to_parameters()
    return model.eval()
