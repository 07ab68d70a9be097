"""Stage 1: distill image tokens into latent tokens at every length; the base tokenizer stays frozen (paper, section 3).

One step, `DistillStage.step`: choose the iterations to supervise, roll out to the last of them and sum their losses
(`DistillObjective.forward`), take the optimizer step, and replace codes that have gone out of use.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.data.listing import chosen_indices
from alit.errors import ConfigError
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.distillation import BatchRows, Distillation, Distilled, Halting, TokenizerConfig
from alit.models.linear_path import LatentLinearPath
from alit.settings import Settings
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.execution import PLAIN, ExecutionConfig, detached, join_parts, prepare_network, split_rows
from alit.training.engine.fabric import default_randomness, derive_generator, gather_batch
from alit.training.engine.loader import CHUNK, Augmentation, Batch, BatchSampler, TokenSource, token_source
from alit.training.engine.loop import run_training
from alit.training.optim import DeadCodeReset, OptimizationConfig, OptimizedModule, perplexity

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

NAME = "distill"


class DistillTrainingConfig(Settings):
    """Stage 1 (paper, section 3; docs/paper-or-code.md lists where the published code differs)."""

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


def unlocked_iterations(step: int, steps: int, iterations: int, share: float) -> int:
    """Return how many iterations may be supervised at a step.

    The first is open from the start, the last from `share` of the run, the others evenly in between; a share
    of zero opens all at once, as published. A deviation: small models learn nothing from eight at once.
    """
    opening = share * steps
    if step >= opening:
        return iterations
    return 1 + math.floor((iterations - 1) * step / opening)


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


def supervised_at(step: int, config: DistillTrainingConfig, iterations: int, seed: int) -> tuple[int, ...]:
    """Return the iterations (1-based, ascending) that a step supervises, out of so many, in a training with `seed`."""
    unlocked = unlocked_iterations(step, config.optimization.steps, iterations, config.unlock_share)
    generator = derive_generator(seed, NAME, "iterations", step)
    return choose_iterations(unlocked, config.supervised_iterations, generator)


def switch_step(steps: int, continuous_share: float) -> int:
    """Return the first step at which latents pass through the quantizer."""
    return round(steps * continuous_share)


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


def iteration_loss(
    distilled: Distilled, targets: BaseTokens, config: DistillTrainingConfig, *, regression: bool
) -> dict[str, Tensor]:
    """Return the loss of one decoded iteration and its parts: total, cross_entropy, code_error, quantizer.

    VQGAN: lambda * cross-entropy of the base ids + code weight * squared error of the codes + quantizer loss. With
    `regression` (VAE, or codes regressed directly): lambda * squared error of the codes + quantizer loss. lambda is
    the iteration's `cross_entropy_weights`. Label smoothing is the paper's; the published code has none.
    """
    assert distilled.prediction is not None
    weight = config.cross_entropy_weights[distilled.iteration - 1]
    code_error = F.mse_loss(distilled.prediction.codes, targets.codes)
    quantizer = distilled.quantizer_loss
    if regression:
        cross_entropy = code_error.new_zeros(())
        total = weight * code_error + config.quantizer_weight * quantizer
    else:
        assert targets.ids is not None
        scores = distilled.prediction.scores
        cross_entropy = F.cross_entropy(
            rearrange(scores if weight else scores.detach(), "b n v -> (b n) v"),  # of weight 0 it is for the log alone
            rearrange(targets.ids, "b n -> (b n)"),
            label_smoothing=config.label_smoothing,
        )
        total = weight * cross_entropy + config.code_weight * code_error + config.quantizer_weight * quantizer
    return {"total": total, "cross_entropy": cross_entropy, "code_error": code_error, "quantizer": quantizer}


class DistillLosses(NamedTuple):
    """The losses of one batch, and what the reset of dead codes reads."""

    total: Tensor
    cross_entropy: Tensor  # (supervised iterations,); zero where codes are regressed
    code_error: Tensor  # (supervised iterations,)
    quantizer: Tensor  # (supervised iterations,)
    raw_codes: Tensor  # (b, k, z) of the last iteration, before the quantizer
    ids: Tensor | None  # (b, all k) of the supervised iterations; None without a quantizer


class DistillObjective(nn.Module):
    """The sum of `iteration_loss` over the supervised iterations, rolled out as far as the last of them."""

    def __init__(self, distillation: Distillation, config: DistillTrainingConfig) -> None:
        super().__init__()
        self.distillation = distillation
        self.config = config

    @property
    def uses_every_parameter(self) -> bool:
        """Whether each step has a gradient for all: the mask token's comes from halting, norms' from iterations."""
        config = self.config
        always = config.supervised_iterations is None and config.unlock_share == config.continuous_share == 0
        return always and config.halting and self.distillation.config.iterations > 1

    def forward(
        self,
        images: Tensor,
        base_tokens: BaseTokens,
        codebook: Tensor | None,
        iterations: tuple[int, ...],
        quantize: bool,
        generator: torch.Generator | None,
        rows: BatchRows | None = None,
    ) -> DistillLosses:
        """Return the losses of images (b, 3, h, w) in [0, 1]; see `Distillation.iterate` for the arguments."""
        rollout = self.distillation.iterate(
            images,
            base_tokens,
            codebook,
            last=iterations[-1],
            decode=iterations,
            quantize=quantize,
            halting=Halting() if self.config.halting else None,
            generator=generator,
            rows=rows,
        )
        regression = self.distillation.config.distillation.prediction == "regression"
        losses, ids = [], []
        for distilled in rollout:
            if distilled.iteration in iterations:
                losses.append(iteration_loss(distilled, base_tokens, self.config, regression=regression))
                if distilled.ids is not None:
                    ids.append(distilled.ids)
        parts = {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}
        return DistillLosses(
            parts["total"].sum(),
            parts["cross_entropy"].detach(),
            parts["code_error"].detach(),
            parts["quantizer"].detach(),
            distilled.raw_codes.detach(),
            torch.cat(ids, dim=1) if ids else None,
        )


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
        fabric: "Fabric",
        seed: int,
        execution: ExecutionConfig = PLAIN,
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
        self.micro_batch = execution.micro_batch.distill
        prepare_network(tokenizer, execution)
        objective = DistillObjective(self.distillation, config)
        self.optimized = OptimizedModule(fabric, objective, config.optimization)
        quantizer = self.distillation.quantizer
        self.reset = None if quantizer is None else DeadCodeReset(quantizer, self.optimized, fabric)
        self.switch = switch_step(config.optimization.steps, config.continuous_share)
        self.code_columns = tuple(f"code_error_{t + 1}" for t in range(self.iterations))
        self.columns: tuple[str, ...] = (
            *("loss", "cross_entropy", "quantizer", "perplexity", "unlocked", "grad_norm"),
            *self.code_columns,
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take one step on one batch: forward and loss, backward and optimizer step, reset of dead codes."""
        if step == self.switch > 0 and self.reset is not None:
            self._init_codebook(step, self.reset)
        iterations = supervised_at(step, self.config, self.iterations, self.seed)
        losses = self.compute_gradient(step, self.sampler(step), iterations)
        values = {
            "loss": losses.total,
            "cross_entropy": losses.cross_entropy.mean(),
            "quantizer": losses.quantizer.mean(),
            "unlocked": torch.tensor(float(self._unlocked(step)), device=self.fabric.device),
            "grad_norm": self.optimized.take_step(step),
        }
        for iteration, error in zip(iterations, losses.code_error.unbind(), strict=True):
            values[self.code_columns[iteration - 1]] = error
        if self.reset is not None and losses.ids is not None:
            values["perplexity"] = perplexity(losses.ids, self.reset.quantizer.size)
            self._reset_dead_codes(step, losses.ids, losses.raw_codes, self.reset)
        return values

    def compute_gradient(self, step: int, batch: Batch, iterations: tuple[int, ...]) -> DistillLosses:
        """Accumulate the gradient of a batch, a micro-batch at a time, and return its losses without graphs."""
        parts = []
        rows = split_rows(len(batch.images), self.micro_batch)
        for part in rows:
            images, halting = batch.part(part), self._halting_generator(step)
            with self.optimized.accumulating(part):
                losses: DistillLosses = self.optimized.module(
                    images.images, self.tokens(images), self.codebook, iterations, step >= self.switch, halting, part
                )
                self.optimized.backward(losses.total, part)
            parts.append(detached(losses))
        return join_parts(parts, rows, batched=("raw_codes", "ids"))

    def _unlocked(self, step: int) -> int:
        return unlocked_iterations(step, self.config.optimization.steps, self.iterations, self.config.unlock_share)

    def _halting_generator(self, step: int) -> torch.Generator | None:
        if not self.config.halting:
            return None
        rank = self.fabric.global_rank
        return derive_generator(self.seed, NAME, "halting", step, rank, device=self.fabric.device)

    def _reset_dead_codes(self, step: int, ids: Tensor, raw_codes: Tensor, reset: DeadCodeReset) -> None:
        """Count the codes; once every `expire_every` steps since the switch, replace those without a use."""
        reset.count(ids)
        quantized_steps = step + 1 - self.switch
        if self.config.expire_every and quantized_steps % self.config.expire_every == 0:
            # The word in the seed is older than the method's name; another one would draw other codes.
            reset.expire_codes(raw_codes, derive_generator(self.seed, NAME, "revive", step))

    @torch.no_grad()
    def _init_codebook(self, step: int, reset: DeadCodeReset) -> None:
        """Draw the codebook from raw codes of the coming batches, at least four times as many as there are codes."""
        vectors: list[Tensor] = []
        while sum(map(len, vectors)) < 4 * reset.quantizer.size:
            batch = self.sampler(step + len(vectors))
            rows = split_rows(len(batch.images), self.micro_batch)
            share = torch.cat([self._raw_codes(batch.part(part), self._unlocked(step)) for part in rows])
            vectors.append(rearrange(gather_batch(self.fabric, share), "b k z -> (b k) z"))
        reset.init_codebook(torch.cat(vectors), derive_generator(self.seed, NAME, "codebook"))

    def _raw_codes(self, batch: Batch, iteration: int) -> Tensor:
        """Return the raw codes (b, k, z) of an iteration, not quantized."""
        with self.fabric.autocast():
            tokens = self.tokens(batch)
            return distill_at(
                self.distillation, batch.images, tokens, self.codebook, iteration, decode=(), quantize=False
            ).raw_codes.float()

    def state(self) -> dict[str, Any]:
        """Return the trained network, its optimizer and the counts of code use."""
        reset = {} if self.reset is None else {"code_uses": self.reset}
        return {"distillation": self.distillation, **self.optimized.state("distillation"), **reset}

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of a step's images."""
        return self.sampler.image_ids(step)


def train_distillation(
    tokenizer: TokenizerConfig,
    config: DistillTrainingConfig,
    base: BaseTokenizer,
    images: ImageSet,
    *,
    augmentation: Augmentation,
    fabric: "Fabric",
    seed: int,
    scratch: Path,
    base_tokens: Path | None = None,
    execution: ExecutionConfig = PLAIN,
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
        execution: how to compute it on this machine.

    Raises:
        ConfigError: there are fewer cross-entropy weights than iterations.
    """
    weights = len(config.cross_entropy_weights)
    if weights < tokenizer.iterations:
        raise ConfigError(
            f"expected cross_entropy_weights for {tokenizer.iterations} iterations, found {weights}; add the others"
        )
    tokenizer = tokenizer.model_copy(update={"base": base.config})  # with all that was found out about a published one
    with default_randomness(seed, NAME, "initial weights"):
        model = AdaptiveTokenizer(tokenizer)
    model.base.load_state_dict(base.state_dict())
    model.base.eval().requires_grad_(False)
    fabric.to_device(model)
    model.distillation.train()
    size, where = config.optimization.batch_size, {"fabric": fabric, "seed": seed, "workers": execution.workers}
    sampler = BatchSampler(images, size, augmentation, stage=NAME, **where)
    cache = base_tokens or scratch / "base_tokens"
    tokens = token_source(model.base, tokenizer, images, augmentation, fabric=fabric, folder=cache)
    if model.distillation.linear is not None:
        start_latent_linear_path(model.distillation.linear, images, tokens, flip=augmentation.flip, fabric=fabric)
    stage = DistillStage(model, config, sampler, tokens, fabric=fabric, seed=seed, execution=execution)
    run_training(stage, fabric=fabric, config=config.optimization, scratch=scratch, description="stage 1")
    stage.optimized.use_average()
    return model.eval()


LINEAR_IMAGES = 10_000  # whose image tokens a linear path starts from


def start_latent_linear_path(
    path: LatentLinearPath, images: ImageSet, tokens: TokenSource, *, flip: bool, fabric: "Fabric"
) -> None:
    """Set a linear path to the principal components of image tokens; each process does so alike.

    Args:
        path: is overwritten.
        images: the training set; at most so many of it are taken, spread evenly.
        tokens: the base tokenizer's of these images.
        flip: takes mirrored images, too.
        fabric: where the tokens are computed.
    """
    rows = torch.tensor(chosen_indices(len(images), LINEAR_IMAGES))

    def features() -> Iterator[Tensor]:
        for part in tqdm(rows.split(CHUNK), desc="linear path", unit="batch", mininterval=5):
            views = fabric.to_device(images.images(part))
            for mirrored in (False, True)[: 1 + flip]:
                flags = torch.full((len(part),), mirrored)
                yield tokens(Batch(part, flags, views.flip(-1) if mirrored else views)).features

    path.fit(features())
