"""AdamW with its schedule, clipping and average: everything between a loss and the next weights."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW

from alit.config.s_optim import OptimisationConfig
from alit.training.ema import Average
from alit.training.schedules import learning_rate


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


class Learner:
    """One network, wrapped by Fabric, with the optimiser of its trained parameters and perhaps their average.

    Args:
        fabric: where and how precisely to compute.
        module: the network; its `forward` must hold the whole computation up to the loss, since that is what
            Fabric runs in lower precision and on several processes.
        config: the optimisation settings.
        parameters: the parameters to train; by default all that require a gradient.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: nn.Module,
        config: OptimisationConfig,
        parameters: Sequence[nn.Parameter] | None = None,
        *,
        average: bool = True,
    ) -> None:
        self.fabric = fabric
        self.config = config
        if parameters is None:
            parameters = [p for p in module.parameters() if p.requires_grad]
        module = fabric.to_device(module)
        # A seventh faster in float32; narrow bfloat16 convolutions take twice as long with channels last.
        layout = torch.channels_last if config.precision == "32-true" else torch.contiguous_format
        module.to(memory_format=layout)  # type: ignore[call-overload]
        # One fused kernel updates all tensors; Fabric's fp16 scaler cannot clip for a fused optimiser.
        fused = config.precision != "16-mixed"
        groups = parameter_groups(parameters, config.weight_decay)
        optimizer = AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)
        self.module, self.optimizer = fabric.setup(module, optimizer)
        self.average = Average(parameters, config.ema_decay) if average and config.ema_decay > 0 else None

    def update(self, loss: Tensor, step: int) -> Tensor:
        """Take one optimiser step down `loss`; return the gradient's norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        self.fabric.backward(loss)
        bound = self.config.clip_norm if self.config.clip_norm is not None else torch.inf
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=bound, error_if_nonfinite=False)
        self.optimizer.step()
        self.module.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        assert norm is not None
        return norm

    @torch.no_grad()
    def replace_rows(self, parameter: nn.Parameter, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows of a parameter and of its average; the optimiser forgets what it knew of them."""
        parameter[rows] = values.to(parameter)
        if self.average is not None:
            self.average.set_rows(parameter, rows, values)
        moments = self.optimizer.state.get(parameter, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in moments:
                moments[name][rows] = 0

    def state(self, name: str) -> dict[str, Any]:
        """Return what to save, under names that start with `name`; the network itself is the stage's."""
        state: dict[str, Any] = {f"{name}_optimizer": self.optimizer}
        if self.average is not None:
            state[f"{name}_average"] = self.average
        return state
