"""An exponential moving average of trained parameters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def average_decay(updates: int, decay: float) -> float:
    """Return the decay of the update after `updates` earlier ones.

    It rises to `decay` as (1 + updates) / (10 + updates): a short run has to forget its random start.
    """
    return min(decay, (1 + updates) / (10 + updates))


class Average:
    """Averages of `parameters`, updated after each optimiser step.

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
        """Put the averages in the place of the parameters."""
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
