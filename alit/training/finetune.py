"""Stage 2: pixels, perception and an adversary, one iteration a step (published-code facts, 2.10).

Deviations from the published code: one discriminator and one perceptual network serve all iterations (there, eight
of each); the discriminator's parameters are in its own optimiser only; its steps build no graph of the generator;
the rollout ends at the supervised iteration; a step is one generator step with its discriminator steps before it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn

from alit.config.s_finetune import FinetuneTrainingConfig
from alit.errors import ConfigError
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.models.quantizer import VectorQuantizer
from alit.tokenizer import AdaptiveTokenizer
from alit.training.adversarial import Generated, Generator, Judge, Judged, frozen
from alit.training.loop import run_training
from alit.training.optimiser import Learner
from alit.training.randomness import default_randomness
from alit.training.sampling import Augmentation, BatchSampler, TrainingImages
from alit.training.schedules import adversarial_weight

NAME = "finetune"


class FinetuneStage:
    """See `train_finetune`."""

    name = NAME

    def __init__(
        self,
        tokenizer: AdaptiveTokenizer,
        discriminator: PatchDiscriminator,
        perceptual: PerceptualDistance | None,
        images: TrainingImages,
        config: FinetuneTrainingConfig,
        *,
        augmentation: Augmentation,
        fabric: Fabric,
        seed: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.discriminator = discriminator
        self.config = config
        self.fabric = fabric
        self.seed = seed
        size = config.optimisation.batch_size
        self.sampler = BatchSampler(images, size, augmentation, fabric=fabric, seed=seed, stage=NAME)
        self.judged = BatchSampler(images, size, augmentation, fabric=fabric, seed=seed, stage=f"{NAME} discriminator")
        perceptual = perceptual if config.perceptual_weight > 0 else None
        self.generator = Generator(tokenizer, perceptual, config)
        trained = select_trained(tokenizer, config.train_base)
        self.learner = Learner(fabric, self.generator, config.optimisation, trained)
        self.adversary = Learner(fabric, Judge(discriminator), config.optimisation, average=False)
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
        weight = adversarial_weight(step, self.config.optimisation.steps, self.config)
        values = self._judge(step, iteration) if weight > 0 else {}
        with frozen(self.discriminator):
            opponent = self.discriminator if weight > 0 else None
            generated: Generated = self.learner.module(self.sampler(step).images, iteration, opponent)
        config = self.config
        loss = (
            config.l1_weight * generated.l1
            + config.perceptual_weight * generated.perceptual
            + config.quantiser_weight * generated.quantizer
            + config.code_weight * generated.code_error
        )
        if generated.adversarial is not None and generated.balance is not None:
            loss = loss + weight * generated.balance * generated.adversarial
            values |= {"adversarial": generated.adversarial.detach(), "adaptive_weight": generated.balance}
        return {
            **values,
            "loss": loss.detach(),
            "l1": generated.l1.detach(),
            "perceptual": generated.perceptual.detach(),
            "quantizer": generated.quantizer.detach(),
            "code_error": generated.code_error.detach(),
            "grad_norm": self.learner.update(loss, step),
            self.l1_columns[iteration - 1]: generated.l1.detach(),
        }

    def _judge(self, step: int, iteration: int) -> dict[str, Tensor]:
        """Take the discriminator's steps, each on images of its own, and return the last one's scalars."""
        values: dict[str, Tensor] = {}
        count = self.config.discriminator_steps
        for turn in range(count):
            real = self.judged(step * count + turn).images
            with self.fabric.autocast():
                fake = self.generator.reconstruct(real, iteration)
            judged: Judged = self.adversary.module(real, fake)
            self.adversary.update(judged.loss, step)
            values = {
                "discriminator": judged.loss.detach(),
                "logits_real": judged.real,
                "logits_fake": judged.fake,
            }
        return values

    def state(self) -> dict[str, Any]:
        """Return both networks and their optimisers."""
        networks = {"tokenizer": self.tokenizer, "discriminator": self.discriminator}
        return {**networks, **self.learner.state("tokenizer"), **self.adversary.state("discriminator")}

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of the images of a generator step."""
        return self.sampler.image_ids(step)


def select_trained(tokenizer: AdaptiveTokenizer, train_base: bool) -> list[nn.Parameter]:
    """Return the parameters that stage 2 trains, and switch off the gradients of the others.

    The base codebook never trains, as published. A frozen base keeps the gradient at its last layer, where the
    adversary is balanced, but that layer is not among those returned.
    """
    base = tokenizer.base
    base.requires_grad_(train_base)
    quantizer = getattr(base, "quantizer", None)  # a VAE has none
    if isinstance(quantizer, VectorQuantizer):
        quantizer.requires_grad_(False)
    trained = [parameter for parameter in tokenizer.parameters() if parameter.requires_grad]
    base.last_layer.requires_grad_(True)
    return trained


def train_finetune(
    tokenizer: AdaptiveTokenizer,
    config: FinetuneTrainingConfig,
    images: TrainingImages,
    perceptual: PerceptualDistance | None,
    *,
    augmentation: Augmentation,
    fabric: Fabric,
    seed: int,
    scratch: Path,
) -> None:
    """Train `tokenizer`, the result of stage 1, in place and resumably; leave it averaged, in eval mode.

    Args:
        tokenizer: after stage 1.
        config: losses and optimisation.
        images: the training set.
        perceptual: may be None where its weight is zero.
        augmentation: random views.
        fabric: see `alit.training.fabric.build_fabric`.
        seed: of the profile.
        scratch: from `alit.training.checkpoint.stage_scratch`.

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
    )
    run_training(stage, fabric=fabric, config=config.optimisation, scratch=scratch, description="stage 2")
    if stage.learner.average is not None:
        stage.learner.average.copy_to_parameters()
    tokenizer.requires_grad_(True).eval()
