"""From a loss to the next weights: optimizers, their learning rate, clipping, moving average, reset of dead codes."""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from alit.errors import ConfigError
from alit.models.distillation import BatchRows
from alit.models.quantizer import VectorQuantizer
from alit.models.transformer import Block
from alit.settings import Settings
from alit.training.engine.fabric import emulates_bfloat16, gather_batch, gradient_scaler
from alit.training.engine.muon import SinglePrecisionMuon

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


# What AdamW (two) and Muon (one) call their tensors that are shaped like the weights.
MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")


class OptimizationConfig(Settings):
    """AdamW, alone or beside Muon, with linear warm-up and cosine decay to zero, per step."""

    steps: NonNegativeInt
    batch_size: PositiveInt  # global: split over the processes
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt
    betas: tuple[float, float]
    weight_decay: NonNegativeFloat  # not applied to biases and one-dimensional tensors
    clip_norm: PositiveFloat | None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"]  # Lightning Fabric's names
    ema_decay: float = Field(ge=0, lt=1)  # 0 keeps no average
    save_every: PositiveInt  # steps between resume states
    log_every: PositiveInt  # steps between rows of the log
    # See `build_optimizers`. Settings of earlier trainings do not say, and are continued and compared by what they say.
    optimizer: Literal["adamw", "muon"] = Field(default="adamw", exclude_if=lambda value: value == "adamw")

    @model_validator(mode="after")
    def _parts_fit(self) -> "OptimizationConfig":
        if self.optimizer == "muon" and self.precision == "16-mixed":
            raise ValueError("optimizer: muon takes no scaled gradients; set precision: bf16-mixed or 32-true")
        return self


def learning_rate(step: int, config: OptimizationConfig) -> float:
    """Return a step's learning rate: linear warm-up to the peak, then a cosine to zero at `config.steps`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def average_decay(updates: int, decay: float) -> float:
    """Return the decay of the update after `updates` earlier ones.

    It rises to `decay` as (1 + updates) / (10 + updates): a short run has to forget its random start.
    """
    return min(decay, (1 + updates) / (10 + updates))


class Average:
    """The moving average of `parameters`, updated after each optimizer step.

    Deviations from the published code: the average is never reset (there it restarts from the live weights
    each epoch, which leaves it almost equal to them), and its decay warms up.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.values = [parameter.detach().clone() for parameter in self.parameters]
        self.decay = decay
        self.updates = 0

    def update(self) -> None:
        """Move the averages towards the parameters as they are now."""
        blend = get_ema_multi_avg_fn(average_decay(self.updates, self.decay))
        blend(self.values, self.parameters, None)
        self.updates += 1

    @torch.no_grad()
    def set_rows(self, parameter: nn.Parameter, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows of one parameter's average, where training has replaced the parameter's own rows."""
        for average, candidate in zip(self.values, self.parameters, strict=True):
            if candidate is parameter:
                average[rows] = values.to(average)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Overwrite the parameters with their averages."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"updates": self.updates, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.updates = state["updates"]
        for value, saved in zip(self.values, state["values"], strict=True):
            value.copy_(saved)


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into those that decay and those that do not: biases and other one-dimensional tensors.

    Learned tables (positions, latents, codebooks) are two-dimensional and decay, as published.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizers(
    module: nn.Module, parameters: Sequence[nn.Parameter], config: OptimizationConfig
) -> tuple[Optimizer, ...]:
    """Return AdamW for all `parameters`; with `optimizer: muon` only for those that Muon, the second, does not take.

    Muon takes the weight matrices in the transformer blocks of `module`, and steps along their momentum with all
    singular values made equal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon). Its steps are scaled to
    AdamW's size (Liu et al. 2025, arXiv:2502.16982, section 2.2), so that one learning rate and one weight decay serve
    both. A deviation, for trainings that have to be short: the paper and the published code have AdamW alone.

    Raises:
        ConfigError: Muon, and there is no transformer block to train.
    """
    if config.optimizer == "adamw":
        return (_adamw(parameters, config),)
    layers = [part for block in module.modules() if isinstance(block, Block) for part in block.modules()]
    inside = {id(layer.weight) for layer in layers if isinstance(layer, nn.Linear)}
    matrices = [p for p in parameters if id(p) in inside]
    if not matrices:
        raise ConfigError("expected transformer blocks to train with optimizer: muon, found none; set optimizer: adamw")
    if emulates_bfloat16(matrices[0].device):
        muon: Muon = SinglePrecisionMuon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay)
    else:
        muon = Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
    return _adamw([p for p in parameters if id(p) not in inside], config), muon


def _adamw(parameters: Sequence[nn.Parameter], config: OptimizationConfig) -> AdamW:
    groups = parameter_groups(parameters, config.weight_decay)
    # One fused kernel updates all tensors.
    return AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


class OptimizedModule:
    """A network, wrapped by Fabric, with the optimizers of its trained parameters and, where asked for, their average.

    Args:
        fabric: where and how precisely to compute.
        module: the network; its `forward` must hold the whole computation up to the loss, since Fabric runs that in
            lower precision and on all processes.
        config: the optimization settings.
        parameters: the parameters to train; by default all that require a gradient.
        average: False keeps no average, whatever `config.ema_decay` is.
    """

    def __init__(
        self,
        fabric: "Fabric",
        module: nn.Module,
        config: OptimizationConfig,
        parameters: Sequence[nn.Parameter] | None = None,
        *,
        average: bool = True,
    ) -> None:
        self.fabric = fabric
        self.config = config
        if parameters is None:
            parameters = [p for p in module.parameters() if p.requires_grad]
        module = fabric.to_device(module)
        # Tensor cores want it. A CPU gains a seventh in float32, and narrow bfloat16 convolutions take twice as long.
        last = fabric.device.type == "cuda" or config.precision == "32-true"
        module.to(memory_format=torch.channels_last if last else torch.contiguous_format)  # type: ignore[call-overload]
        self.module, *self.optimizers = fabric.setup(module, *build_optimizers(module, parameters, config))
        self.parameters = list(parameters)
        self.average = Average(parameters, config.ema_decay) if average and config.ema_decay > 0 else None

    def accumulating(self, rows: BatchRows) -> AbstractContextManager[None]:
        """Return the context of one part of a batch, forward and backward: only its last part syncs processes."""
        return self.fabric.no_backward_sync(self.module, enabled=rows.stop < rows.size)

    def backward(self, loss: Tensor, rows: BatchRows | None = None) -> None:
        """Add the gradient of `loss`, a mean over `rows` of a batch, to that of the batch's mean."""
        self.fabric.backward(loss if rows is None or rows.share == 1 else loss * rows.share)

    def take_step(self, step: int) -> Tensor:
        """Clip the gradient, take one optimizer step and clear it; return the gradient's norm before clipping."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, self.config)
        norm = self._clip()
        for optimizer in self.optimizers:
            optimizer.step()
        self.module.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        return norm

    def backward_and_step(self, loss: Tensor, step: int) -> Tensor:
        """Take one step on a whole batch's `loss`; see `take_step`."""
        self.backward(loss)
        return self.take_step(step)

    def _clip(self) -> Tensor:
        """Clip the gradient as `Fabric.clip_gradients` does, which refuses a fused optimizer with a gradient scaler."""
        scaler = gradient_scaler(self.fabric)
        if scaler is not None:
            for optimizer in self.optimizers:
                scaler.unscale_(optimizer.optimizer)
        bound = self.config.clip_norm if self.config.clip_norm is not None else torch.inf
        return nn.utils.clip_grad_norm_(self.parameters, bound)

    def use_average(self) -> None:
        """Overwrite the trained parameters with their averages, once training is over; without averages do nothing."""
        if self.average is not None:
            self.average.copy_to_parameters()

    @torch.no_grad()
    def replace_rows(self, parameter: nn.Parameter, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows of a parameter and of its average, and set the optimizers' moments of them to zero."""
        parameter[rows] = values.to(parameter)
        if self.average is not None:
            self.average.set_rows(parameter, rows, values)
        for optimizer in self.optimizers:
            for name, moment in optimizer.state.get(parameter, {}).items():
                if name in MOMENTS:
                    moment[rows] = 0

    def state(self, name: str) -> dict[str, Any]:
        """Return the optimizers and the average for a resume state, under names that start with `name`."""
        kinds = ("optimizer", "muon")
        state: dict[str, Any] = {f"{name}_{kind}": each for kind, each in zip(kinds, self.optimizers, strict=False)}
        if self.average is not None:
            state[f"{name}_average"] = self.average
        return state


def perplexity(ids: Tensor, size: int) -> Tensor:
    """Return the exponential of the entropy of ids (...) below `size`: the number of codes if all are used equally."""
    share = torch.bincount(ids.flatten(), minlength=size) / ids.numel()
    return torch.special.entr(share).sum().exp()


class DeadCodeReset:
    """Counts the uses of each code since the last reset, and replaces the unused ones by vectors of the data."""

    def __init__(self, quantizer: VectorQuantizer, optimized: OptimizedModule, fabric: "Fabric") -> None:
        self.quantizer = quantizer
        self.optimized = optimized
        self.fabric = fabric
        self.uses = torch.zeros(quantizer.size, dtype=torch.int64, device=fabric.device)

    def count(self, ids: Tensor) -> None:
        """Count the ids (...) of one step of this process."""
        self.uses += torch.bincount(ids.flatten(), minlength=self.quantizer.size)

    def expire_codes(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Replace the codes that no process has used since the last call by random rows of vectors (b, n, z).

        All processes gather the same vectors and draw the same rows, from a `generator` in the same state.
        """
        uses = self.fabric.all_reduce(self.uses.clone(), reduce_op="sum")
        assert isinstance(uses, Tensor)
        dead = (uses == 0).nonzero()[:, 0]
        vectors = gather_batch(self.fabric, vectors.detach())
        if len(dead):
            self._replace(dead, rearrange(vectors, "b n z -> (b n) z"), generator)
        self.uses.zero_()

    def init_codebook(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Replace the whole codebook by random rows of vectors (n, z), the same on every process."""
        self._replace(torch.arange(self.quantizer.size, device=vectors.device), vectors, generator)
        self.uses.zero_()

    def _replace(self, rows: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
        chosen = vectors[_choose(len(vectors), len(rows), generator).to(vectors.device)]
        if self.quantizer.unit:
            chosen = F.normalize(chosen, dim=-1)
        self.optimized.replace_rows(self.quantizer.embedding, rows, chosen)

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"uses": self.uses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.uses.copy_(state["uses"])


def _choose(available: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Return `wanted` of `available` rows, without repetition where there are enough."""
    if wanted <= available:
        return torch.randperm(available, generator=generator)[:wanted]
    return torch.randint(available, (wanted,), generator=generator)
