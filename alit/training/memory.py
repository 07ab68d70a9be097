"""What a training needs of a GPU's memory, planned without one: the stage's own step, on tensors without contents."""

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Muon
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from alit.data.imageset import ImageSet
from alit.errors import ConfigError
from alit.models.losses import PatchDiscriminator, PerceptualDistance
from alit.tokenizer.cost import LiveTensors
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import BaseStage
from alit.training.distill import DistillStage
from alit.training.engine.execution import ExecutionConfig, MicroBatchConfig
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, Batch, BatchSampler, encode_frozen
from alit.training.finetune import FinetuneStage
from alit.training.optim import OptimizedModule
from alit.training.variants import TrainingSettings

Stage = Literal["base", "distill", "finetune"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
Network = TypeVar("Network", bound=nn.Module)


class MemoryPlan(NamedTuple):
    """Bytes on each GPU at the worst moment of a step.

    Not counted: CUDA's context, fragments of the allocator, and the workspaces of kernels.
    """

    weights: int  # of all networks, trained or not
    optimizer: int  # moments, of which AdamW has two and Muon one, and the moving average
    buckets: int  # in which several processes exchange gradients
    step: int  # most that comes to life in a step: images, activations, gradients

    @property
    def total(self) -> int:
        """The sum."""
        return sum(self)


def plan_memory(
    settings: TrainingSettings,
    stage: Stage,
    *,
    micro_batch: int,
    accumulation: int = 1,
    checkpoint_activations: bool = False,
    precision: Precision | None = None,
    processes: int = 1,
    perceptual: PerceptualDistance | None = None,
) -> MemoryPlan:
    """Plan the memory of one stage at its most expensive step: all iterations, halting and adversary where it has them.

    Takes seconds to a minute on a CPU and hardly any memory, whatever the size.

    Args:
        settings: of the training: `Profile.training`, or a variant of it.
        stage: base, distill (stage 1) or finetune (stage 2).
        micro_batch: images of a process at once.
        accumulation: micro-batches in a step.
        checkpoint_activations: as in the profile's section `execution`.
        precision: by default the stage's own.
        processes: in all; several need room to exchange gradients.
        perceptual: the perceptual term of the losses, of any weights; None leaves it out.

    Raises:
        ConfigError: no such stage.
    """
    if stage not in STAGES:
        raise ConfigError(f"expected a stage among {', '.join(STAGES)}, found {stage}")
    section, build = STAGES[stage]
    config = getattr(settings, section)
    optimization = config.optimization
    # Of a moving average only the size matters; halves take half the bytes of either kind.
    chosen: str = precision or optimization.precision
    fabric = build_fabric("cpu", 1, "bf16-mixed" if chosen == "16-mixed" else chosen)
    config = config.model_copy(update={"optimization": optimization.model_copy(update={"ema_decay": 0.0})})
    micro = MicroBatchConfig(base=micro_batch, distill=micro_batch, finetune=micro_batch)
    how = {
        "fabric": fabric,
        "seed": 0,
        "execution": ExecutionConfig(micro_batch=micro, checkpoint_activations=checkpoint_activations),
    }
    rounds = min(accumulation, 2)  # from the second on the gradient is there from the start
    built = build(settings, config, rounds * micro_batch, copy.deepcopy(perceptual), how)
    peak = _peak(built)
    held = _bytes(built.optimized[0].parameters)
    gradients = [_bytes(p for p in each.module.parameters() if p.requires_grad) for each in built.optimized]
    later_images = (accumulation - rounds) * micro_batch * 3 * settings.tokenizer.image_size**2 * 4
    return MemoryPlan(
        weights=sum(_bytes([*network.parameters(), *network.buffers()]) for network in built.networks),
        optimizer=sum(map(_moments, built.optimized)) + (held if optimization.ema_decay > 0 else 0),
        buckets=sum(gradients) if processes > 1 else 0,
        step=peak + later_images,
    )


class _Built(NamedTuple):
    """A stage that stands ready; its weights are allocated but never touched, and so take no memory."""

    compute: Callable[[], object]  # the gradients of a step
    networks: tuple[nn.Module, ...]
    optimized: tuple[OptimizedModule, ...]  # the first may keep a moving average


def _base(
    settings: TrainingSettings, config: Any, count: int, perceptual: PerceptualDistance | None, how: dict[str, Any]
) -> _Built:
    base = _tokenizer(settings).base
    stage = BaseStage(base, perceptual, _NoImages(), config, augmentation=PLAIN_VIEWS, **how)
    networks = (base, *([] if stage.optimized.module.perceptual is None else [stage.optimized.module.perceptual]))
    return _Built(lambda: stage.compute_gradient(_batch(settings, count)), networks, (stage.optimized,))


def _distill(
    settings: TrainingSettings, config: Any, count: int, perceptual: PerceptualDistance | None, how: dict[str, Any]
) -> _Built:
    tokenizer = _tokenizer(settings)
    tokenizer.base.requires_grad_(False)

    def tokens(batch: Batch) -> Any:
        with how["fabric"].autocast():
            return encode_frozen(tokenizer.base, batch.images)

    sampler = BatchSampler(_NoImages(), count, PLAIN_VIEWS, fabric=how["fabric"], seed=0, stage="distill")
    stage = DistillStage(tokenizer, config, sampler, tokens, **how)
    every = range(1, stage.iterations + 1)
    supervised = tuple(every[-(config.supervised_iterations or stage.iterations) :])
    step = max(config.optimization.steps - 1, stage.switch)  # the quantizer is in use

    def compute() -> None:
        codebook = tokenizer.base.codebook
        stage.codebook = None if codebook is None else codebook.detach()
        stage.compute_gradient(step, _batch(settings, count), supervised)

    return _Built(compute, (tokenizer,), (stage.optimized,))


def _finetune(
    settings: TrainingSettings, config: Any, count: int, perceptual: PerceptualDistance | None, how: dict[str, Any]
) -> _Built:
    tokenizer = _tokenizer(settings)
    discriminator = _allocated(lambda: PatchDiscriminator(config.discriminator_channels, config.discriminator_layers))
    stage = FinetuneStage(tokenizer, discriminator, perceptual, _NoImages(), config, augmentation=PLAIN_VIEWS, **how)
    last, weight = stage.iterations, config.adversarial_weight

    def compute() -> None:
        if weight > 0 and config.discriminator_steps:
            stage.compute_discriminator_gradient(_batch(settings, count).images, last)
            discriminator.zero_grad(set_to_none=True)
        stage.compute_gradient(_batch(settings, count).images, last, weight)

    networks = (tokenizer, discriminator, *([] if stage.generator.perceptual is None else [stage.generator.perceptual]))
    return _Built(compute, networks, (stage.optimized, stage.optimized_discriminator))


STAGES: dict[Stage, tuple[str, Callable[..., _Built]]] = {  # section of the settings, and what builds it
    "base": ("base_training", _base),
    "distill": ("distill", _distill),
    "finetune": ("finetune", _finetune),
}
PLAIN_VIEWS = Augmentation(False, 1.0)


class _NoImages(ImageSet):
    """Stands in for the training set, which a plan does not read."""

    def __init__(self) -> None:
        self.manifest = pd.DataFrame({"image_id": []})
        self.packed = True

    def __len__(self) -> int:
        return 1


def _batch(settings: TrainingSettings, count: int) -> Batch:
    size = settings.tokenizer.image_size
    indices = torch.empty(count, dtype=torch.int64)
    return Batch(indices, indices.bool(), torch.empty(count, 3, size, size))


def _tokenizer(settings: TrainingSettings) -> AdaptiveTokenizer:
    return _allocated(lambda: AdaptiveTokenizer(settings.tokenizer)).train()


def _allocated(build: Callable[[], Network]) -> Network:
    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu")


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(each.nbytes for each in tensors)


def _moments(optimized: OptimizedModule) -> int:
    return sum(
        (1 if isinstance(optimizer.optimizer, Muon) else 2) * _bytes(group["params"])
        for optimizer in optimized.optimizers
        for group in optimizer.param_groups
    )


def _peak(built: _Built) -> int:
    """Return the most bytes that come to life while the gradients of a step are computed."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for network in built.networks:
            _remove_contents(network, mode)
        with GPUCasts(), fused_attention(), LiveTensors() as live:
            built.compute()
    return live.peak


def fused_attention() -> AbstractContextManager[object]:
    """Compute attention fused, as a GPU does, whatever a CPU takes; also where a checkpoint computes it again."""
    return sdpa_kernel(SDPBackend.FLASH_ATTENTION)


def _remove_contents(network: nn.Module, mode: FakeTensorMode) -> None:
    """Replace a network's parameters and buffers, in place, by tensors without contents."""
    for part in network.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(mode.from_tensor(value.detach()), value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = mode.from_tensor(value)


# What autocast computes in float32 on a GPU but not on a CPU, as far as the networks here use it.
FLOAT32: Mapping[Any, None] = dict.fromkeys(
    [F.group_norm, torch.group_norm, F.layer_norm, F.softmax, torch.softmax, Tensor.softmax, F.normalize]
)


class GPUCasts(TorchFunctionMode):
    """Casts as CUDA's autocast does where that of a CPU differs: norms and softmax in float32."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `function`, within autocast on float32 copies where a GPU would."""
        kwargs = kwargs or {}
        if function not in FLOAT32 or not torch.is_autocast_enabled("cpu"):
            return function(*args, **kwargs)
        args, kwargs = tree_map(_float, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
