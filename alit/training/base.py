"""The base tokenizer: published weights, as the paper starts from, or trained from scratch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor, nn

from alit.data.imageset import ImageSet
from alit.models.base import VAE, VQGAN, BaseTokenizer
from alit.models.diffusers_base import DiffusersBase
from alit.models.linear_path import LinearPath
from alit.models.loading import BaseConfig, build_base, load_published
from alit.models.losses import PerceptualDistance
from alit.models.quantizer import VectorQuantizer
from alit.settings import Settings
from alit.training.engine.execution import PLAIN, ExecutionConfig, detached, join_parts, prepare_network, split_rows
from alit.training.engine.fabric import default_randomness, derive_generator, derive_seed
from alit.training.engine.loader import Augmentation, Batch, BatchSampler
from alit.training.engine.loop import run_training
from alit.training.optim import DeadCodeReset, OptimizationConfig, OptimizedModule, perplexity

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

NAME = "base"


class BaseTrainingConfig(Settings):
    """Losses and optimization of the base tokenizer."""

    optimization: OptimizationConfig
    l1_weight: NonNegativeFloat
    l2_weight: NonNegativeFloat
    perceptual_weight: NonNegativeFloat
    quantizer_weight: NonNegativeFloat  # VQGAN: codebook and commitment
    kl_weight: NonNegativeFloat  # VAE
    expire_every: NonNegativeInt  # steps between re-seeding unused codes from features; 0 never does

    @model_validator(mode="after")
    def _parts_fit(self) -> "BaseTrainingConfig":
        if self.optimization.optimizer == "muon":
            raise ValueError("a base has no transformer blocks, which optimizer: muon is for; set optimizer: adamw")
        return self


class BaseLosses(NamedTuple):
    """The losses of one batch, and what the reset of dead codes reads."""

    total: Tensor
    l1: Tensor
    l2: Tensor
    perceptual: Tensor
    latent: Tensor  # quantizer loss, or KL divergence per image in nats
    features: Tensor  # (b, n, z)
    ids: Tensor | None  # (b, n)


class BaseObjective(nn.Module):
    """l1 + l2 + perceptual + quantizer loss or KL divergence, weighted, of the reconstruction of images."""

    uses_every_parameter = True

    def __init__(self, base: BaseTokenizer, perceptual: PerceptualDistance | None, config: BaseTrainingConfig) -> None:
        super().__init__()
        self.base = base
        self.perceptual = perceptual
        self.config = config

    def forward(self, images: Tensor) -> BaseLosses:
        """Return the losses of images (b, 3, h, w) in [0, 1]."""
        tokens = self.base.encode(images)
        reconstruction = self.base.decode(tokens.codes)
        l1 = F.l1_loss(reconstruction, images)
        l2 = F.mse_loss(reconstruction, images)
        perceptual = l1.new_zeros(())
        if self.perceptual is not None:
            perceptual = self.perceptual(reconstruction, images).mean()
        config = self.config
        latent_weight = config.kl_weight if tokens.ids is None else config.quantizer_weight
        total = (
            config.l1_weight * l1
            + config.l2_weight * l2
            + config.perceptual_weight * perceptual
            + latent_weight * tokens.loss
        )
        return BaseLosses(total, l1, l2, perceptual, tokens.loss, tokens.features.detach(), tokens.ids)


class BaseStage:
    """See `train_base`."""

    name = NAME
    columns: tuple[str, ...] = ("loss", "l1", "l2", "perceptual", "latent", "perplexity", "grad_norm")

    def __init__(
        self,
        base: BaseTokenizer,
        perceptual: PerceptualDistance | None,
        images: ImageSet,
        config: BaseTrainingConfig,
        *,
        augmentation: Augmentation,
        fabric: "Fabric",
        seed: int,
        execution: ExecutionConfig = PLAIN,
    ) -> None:
        self.base = base
        self.micro_batch = execution.micro_batch.base
        prepare_network(base, execution)
        self.config = config
        self.seed = seed
        size, where = config.optimization.batch_size, {"fabric": fabric, "seed": seed, "workers": execution.workers}
        self.sampler = BatchSampler(images, size, augmentation, stage=NAME, **where)
        perceptual = perceptual if config.perceptual_weight > 0 else None
        objective = BaseObjective(base, perceptual, config)
        self.optimized = OptimizedModule(fabric, objective, config.optimization)
        quantizer = getattr(base, "quantizer", None)  # a VAE has none
        vector = isinstance(quantizer, VectorQuantizer)
        self.reset = DeadCodeReset(quantizer, self.optimized, fabric) if vector else None

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take one step on one batch: forward and loss, backward and optimizer step, reset of dead codes."""
        losses = self.compute_gradient(self.sampler(step))
        values = {
            "loss": losses.total,
            "l1": losses.l1,
            "l2": losses.l2,
            "perceptual": losses.perceptual,
            "latent": losses.latent,
            "grad_norm": self.optimized.take_step(step),
        }
        if self.reset is not None and losses.ids is not None:
            values["perplexity"] = perplexity(losses.ids, self.reset.quantizer.size)
            self.reset.count(losses.ids)
            if self.config.expire_every and (step + 1) % self.config.expire_every == 0:
                # The word in the seed is older than the method's name; another one would draw other codes.
                self.reset.expire_codes(losses.features, derive_generator(self.seed, NAME, "revive", step))
        return values

    def compute_gradient(self, batch: Batch) -> BaseLosses:
        """Accumulate the gradient of a batch, a micro-batch at a time, and return its losses without graphs."""
        parts = []
        rows = split_rows(len(batch.images), self.micro_batch)
        for part in rows:
            with self.optimized.accumulating(part):
                losses: BaseLosses = self.optimized.module(part.of(batch.images))
                self.optimized.backward(losses.total, part)
            parts.append(detached(losses))
        return join_parts(parts, rows, batched=("features", "ids"))

    def state(self) -> dict[str, Any]:
        """Return the network, its optimizer and the counts of code use."""
        reset = {} if self.reset is None else {"code_uses": self.reset}
        return {"base": self.base, **self.optimized.state("base"), **reset}

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of a step's images."""
        return self.sampler.image_ids(step)


def train_base(
    tokenizer: BaseConfig,
    config: BaseTrainingConfig,
    images: ImageSet,
    perceptual: PerceptualDistance | None,
    *,
    augmentation: Augmentation,
    fabric: "Fabric",
    seed: int,
    scratch: Path,
    execution: ExecutionConfig = PLAIN,
) -> BaseTokenizer:
    """Train a base tokenizer, resumably, and return it, averaged where the settings say so, in eval mode.

    One with published weights is returned as published, see `published_base`: stage 2 may train it further.

    Args:
        tokenizer: the network's settings.
        config: losses and optimization.
        images: the training set.
        perceptual: may be None where its weight is zero.
        augmentation: random views.
        fabric: see `alit.training.engine.fabric.build_fabric`.
        seed: of the profile.
        scratch: from `alit.training.engine.checkpoint.resume_dir`.
        execution: how to compute it on this machine. A VAE's posterior samples depend on the micro-batches: they come
            from torch's default generator.
    """
    if tokenizer.pretrained is not None:
        return published_base(tokenizer, images, fabric)
    with default_randomness(seed, NAME, "initial weights"):
        base = build_base(tokenizer)
    if isinstance(base, VQGAN | VAE) and base.linear is not None:
        start_linear_path(base, images, seed)
    stage = BaseStage(
        base.train(),
        perceptual,
        images,
        config,
        augmentation=augmentation,
        fabric=fabric,
        seed=seed,
        execution=execution,
    )
    run_training(stage, fabric=fabric, config=config.optimization, scratch=scratch, description="base tokenizer")
    stage.optimized.use_average()
    return base.eval()


LINEAR_IMAGES = 2048  # whose patches the linear path starts from
CODE_VECTORS = 100_000  # of them, at most, that a codebook is clustered from


def start_linear_path(base: VQGAN | VAE, images: ImageSet, seed: int) -> None:
    """Start a linear path from the principal components of training patches, a codebook from their k-means centers.

    Each process does so alike, from images spread evenly over the set.

    Args:
        base: on the CPU; the projection, and for a VQGAN the codebook, are overwritten.
        images: the training set.
        seed: of the profile, for the clustering.
    """
    assert base.linear is not None
    rows = torch.linspace(0, len(images) - 1, min(LINEAR_IMAGES, len(images))).round().long()
    base.linear.fit(images.images(part) for part in rows.split(32))
    if isinstance(base, VQGAN):
        generator = derive_generator(seed, NAME, "code vectors")
        each = max(1, CODE_VECTORS // len(rows))  # of one image, so that large ones are not all in memory
        codes = [_draw_codes(base.linear, images.images(part), each, generator) for part in rows.split(32)]
        with torch.no_grad():
            base.quantizer.embedding.copy_(_centers(torch.cat(codes), base.quantizer.size, seed))


@torch.no_grad()
def _draw_codes(path: LinearPath, images: Tensor, each: int, generator: torch.Generator) -> Tensor:
    """Return at most `each` random codes of every image, (n, z)."""
    codes = rearrange(path.encode(images), "b z h w -> b (h w) z")
    chosen = [torch.randperm(codes.shape[1], generator=generator)[:each] for _ in codes]
    return torch.cat([one[places] for one, places in zip(codes, chosen, strict=True)])


def _centers(codes: Tensor, count: int, seed: int) -> Tensor:
    """Return (count, z) k-means centers of codes (n, z)."""
    from sklearn.cluster import MiniBatchKMeans

    state = derive_seed(seed, NAME, "codebook") % 2**32
    clusters = MiniBatchKMeans(count, batch_size=4096, random_state=state).fit(codes.numpy())
    return torch.from_numpy(clusters.cluster_centers_)


SCALING_IMAGES = 512  # on which latents are measured: 32,768 tokens of a grid of 8 x 8


def published_base(tokenizer: BaseConfig, images: ImageSet, fabric: "Fabric") -> BaseTokenizer:
    """Return a base tokenizer with published weights, in eval mode; `base.config` holds all that was found out.

    Where neither the settings nor the publication state how latents are scaled, they are measured on images, each
    process alike, so that image tokens have mean 0 and variance 1.

    Args:
        tokenizer: settings that name published weights.
        images: the training set; its first images are measured.
        fabric: says where.

    Raises:
        CheckpointError, ConfigError: see `alit.models.loading.load_published`.
    """
    base = load_published(tokenizer).to(fabric.device)
    source = "settings" if tokenizer.latent_scale is not None else "published settings"
    if isinstance(base, DiffusersBase) and base.config.latent_scale is None:
        scale, shift = measure_latents(base, images, fabric)
        base.config = base.config.model_copy(update={"latent_scale": scale, "latent_shift": shift})
        source = f"{min(SCALING_IMAGES, len(images))} training images"
    config = base.config
    if fabric.is_global_zero:
        print(f"base tokenizer: published weights of {config.pretrained}, sha256 {config.sha256}", flush=True)
        if isinstance(base, DiffusersBase):
            print(f"latents: scale {config.latent_scale:g}, shift {config.latent_shift:g}, from {source}", flush=True)
    return base


@torch.no_grad()
def measure_latents(base: DiffusersBase, images: ImageSet, fabric: "Fabric") -> tuple[float, float]:
    """Return the scale and shift that give the latents of the set's first images mean 0 and variance 1."""
    count, total, squares = 0, 0.0, 0.0
    for rows in torch.arange(min(SCALING_IMAGES, len(images))).split(32):
        latents = base.latents(fabric.to_device(images.images(rows))).double()
        count += latents.numel()
        total += float(latents.sum())
        squares += float(latents.square().sum())
    mean = total / count
    return (squares / count - mean**2) ** -0.5, mean
