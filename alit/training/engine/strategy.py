"""How gradients are exchanged between the processes of a training.

Apart from `fabric`, since lightning_fabric is slow to import: `build_fabric` does so when it launches.
"""

from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class SearchingDDP(DDPStrategy):
    """DDP that looks in each step for parameters without a gradient, unless a module says that all have one.

    A module says so by `uses_every_parameter`: the search walks through the whole graph.
    """

    def setup_module(self, module: nn.Module) -> DistributedDataParallel:
        """Wrap a module."""
        self._ddp_kwargs["find_unused_parameters"] = not getattr(module, "uses_every_parameter", False)
        return super().setup_module(module)
