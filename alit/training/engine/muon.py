"""Muon for a CPU that emulates bfloat16."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Muon


class SinglePrecisionMuon(Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, whose matrix products are of float32.

    PyTorch's makes them of bfloat16, whatever the weights are, which a CPU without AVX-512 emulates (docs/speed.md).
    The state is the same, so that a training begun on one machine goes on on another; steps differ by bfloat16's
    rounding.

    Args:
        parameters: matrices.
        lr: learning rate.
        weight_decay: decoupled, times the learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; return the closure's loss, where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                direction = orthogonalize(
                    parameter.grad.lerp(average, momentum), group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(direction, alpha=-rate * 0.2 * max(parameter.shape) ** 0.5)
        return loss


def orthogonalize(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float) -> Tensor:
    """Return a matrix (m, n) with the singular vectors of `matrix` and singular values near one, in its own precision.

    Newton and Schulz's iteration with a quintic whose coefficients a, b, c give small singular values the steepest rise
    (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): each step makes a s + b s^3 + c s^5 of a singular
    value s.
    """
    a, b, c = coefficients
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T  # the smaller of the two Gram matrices
    wide = wide / wide.norm().clamp(min=epsilon)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
