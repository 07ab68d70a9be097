"""Train a small task network on labeled images, in the same loop as the tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alit.data.imageset import ImageSet
from alit.training.engine.loader import Augmentation, BatchSampler
from alit.training.engine.loop import run_training
from alit.training.optim import OptimizationConfig, OptimizedModule

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


class Targets(NamedTuple):
    """What is known about a batch of images, for the loss."""

    labels: Tensor  # (b,) int64, -1 where unknown
    depth: Tensor | None  # (b, h, w), meters
    captions: Sequence[str | None] = ()  # (b)


SupervisedLoss = Callable[[Any, Targets], Tensor]


def classification_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Return the cross-entropy of logits (b, classes); images without a label do not count."""
    return F.cross_entropy(logits, targets.labels, ignore_index=-1)


def log_depth_loss(log_depth: Tensor, targets: Targets) -> Tensor:
    """Return the mean absolute error of predicted log depth (b, h, w), over pixels whose depth is known.

    On logarithms a relative error counts the same near and far, so that no distance dominates.
    """
    assert targets.depth is not None, "this set has no depth"
    depth = targets.depth
    if log_depth.shape[-2:] != depth.shape[-2:]:
        depth = F.interpolate(depth[:, None], log_depth.shape[-2:], mode="nearest")[:, 0]
    known = depth.isfinite() & (depth > 0)
    error = (log_depth - depth.where(known, 1.0).log()).abs()
    return (error * known).sum() / known.sum().clamp(min=1)


def contrastive_loss(images: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """Return the cross-entropy of finding each image's caption in the batch, and each caption's image (CLIP's loss).

    A caption that occurs twice in a batch counts as two different ones, which among scenes hardly happens.

    Args:
        images: unit vectors (b, e).
        captions: unit vectors (b, e) of their captions.
        scale: of the similarities, a scalar.
    """
    similarities = scale * images @ captions.T  # image caption
    pairs = torch.arange(len(images), device=images.device)
    return (F.cross_entropy(similarities, pairs) + F.cross_entropy(similarities.T, pairs)) / 2


def loss_for(kind: str, network: Any) -> SupervisedLoss:
    """Return the loss of a task network of a kind (see `TaskModelConfig`): on labels, depth or captions.

    The output of a depth network must be meters. A captioner must `read` captions into vectors and have a `scale`, as
    `alit.tasks.captioning.DualEncoder`.
    """
    if kind == "depth":
        return lambda meters, targets: log_depth_loss(meters.log(), targets)
    if kind == "caption":
        return lambda vectors, targets: contrastive_loss(vectors, network.read(targets.captions), network.scale)
    return classification_loss


def supervised_optimization(steps: int, batch_size: int, learning_rate: float) -> OptimizationConfig:
    """Return plain optimization settings for a task network."""
    return OptimizationConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=min(steps // 10, 500),
        betas=(0.9, 0.999),
        weight_decay=0.05,
        clip_norm=1.0,
        precision="32-true",
        ema_decay=0.0,
        save_every=500,
        log_every=50,
    )


class SupervisedObjective(nn.Module):
    """The network and its loss in one forward pass."""

    def __init__(self, network: nn.Module, loss: SupervisedLoss) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, images: Tensor, targets: Targets) -> Tensor:
        """Return the loss, a scalar, of images (b, 3, h, w) in [0, 1]."""
        return self.loss(self.network(images), targets)


class SupervisedStage:
    """See `train_supervised`."""

    columns: tuple[str, ...] = ("loss", "grad_norm")

    def __init__(
        self,
        name: str,
        network: nn.Module,
        loss: SupervisedLoss,
        images: ImageSet,
        config: OptimizationConfig,
        *,
        augmentation: Augmentation,
        fabric: "Fabric",
        seed: int,
    ) -> None:
        self.name = name
        self.seed = seed
        self.network = network
        self.images = images
        self.fabric = fabric
        self.sampler = BatchSampler(images, config.batch_size, augmentation, fabric=fabric, seed=seed, stage=name)
        self.optimized = OptimizedModule(fabric, SupervisedObjective(network, loss), config)

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take one step on one batch; depth is mirrored with its image."""
        batch = self.sampler(step)
        depth = self.images.depth(batch.indices)
        if depth is not None:
            depth[batch.mirrored] = depth[batch.mirrored].flip(-1)
        targets = Targets(self.images.labels(batch.indices), depth, self.images.captions(batch.indices))
        loss = self.optimized.module(batch.images, self.fabric.to_device(targets))
        return {"loss": loss.detach(), "grad_norm": self.optimized.backward_and_step(loss, step)}

    def state(self) -> dict[str, Any]:
        """Return the network and its optimizer."""
        return {"network": self.network, **self.optimized.state("network")}

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of a step's images."""
        return self.sampler.image_ids(step)


def train_supervised(
    network: nn.Module,
    loss: SupervisedLoss,
    images: ImageSet,
    config: OptimizationConfig,
    *,
    name: str,
    flip: bool,
    crop_scale: float = 1.0,
    fabric: "Fabric",
    seed: int,
    scratch: Path,
) -> None:
    """Train `network` in place on `images`, resumably; leave it in eval mode, and `log.csv` in `scratch`.

    Args:
        network: takes images (b, 3, h, w) in [0, 1]; the caller has seeded its initial weights.
        loss: of the network's output and the `Targets`, such as `classification_loss` and `log_depth_loss`.
        images: the training set.
        config: see `supervised_optimization`.
        name: of the stage; every seed depends on it.
        flip: mirror half of the images, and their depth.
        crop_scale: least share of the area that a random crop keeps, resized to the whole image; depth does not follow
            it. 1 never crops.
        fabric: see `alit.training.engine.fabric.build_fabric`.
        seed: of the profile.
        scratch: from `alit.training.engine.checkpoint.resume_dir`; `save_stage` removes it.
    """
    network.train()
    augmentation = Augmentation(flip, crop_scale)
    stage = SupervisedStage(name, network, loss, images, config, augmentation=augmentation, fabric=fabric, seed=seed)
    run_training(stage, fabric=fabric, config=config, scratch=scratch, description=name)
    stage.optimized.use_average()
    network.eval()
