"""Devices and processes of a training, and its randomness: a function of seed, stage and step."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from alit.errors import ConfigError

if TYPE_CHECKING:  # it loads torchmetrics, and with it torchvision and torch's compiler: most of a stage's start
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda")
PATIENCE = timedelta(days=1)  # with a process that works alone: it fills a cache, or joins the pieces of a sweep


def build_fabric(device: str, devices: int, precision: str = "32-true") -> "Fabric":
    """Return a launched Fabric.

    With more than one device, Fabric starts the other processes itself; under `torchrun` or `fabric run` it
    joins those that exist, on one node or more.

    Args:
        device: "auto", "cpu" or "cuda".
        devices: processes on each node.
        precision: Fabric's name of the precision.

    Raises:
        ConfigError: there are no such devices here, or `torchrun` started other than `devices` processes on a node.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.connector import _is_using_cli
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    from alit.training.engine.strategy import SearchingDDP

    require_devices(device, devices)
    nodes = 1
    if TorchElasticEnvironment.detect():
        environment = TorchElasticEnvironment()
        nodes, surplus = divmod(environment.world_size(), devices)
        if surplus or environment.local_rank() >= devices:
            raise ConfigError(
                f"expected {devices} processes on each node (devices in the profile), but torchrun started "
                f"{environment.world_size()} in all; set devices or --nproc_per_node so that they agree"
            )
    strategy = SearchingDDP(timeout=PATIENCE) if devices * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
    )
    if not _is_using_cli():  # `fabric run` has launched already; a second launch is an error
        fabric.launch()
    return fabric


def single_device(device: str) -> torch.device:
    """Return the device of a process that works alone: "auto" takes the first GPU, where there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    require_devices(device, 1)
    is_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda", 0) if is_gpu else torch.device("cpu")


EMULATED_BFLOAT16 = ("DEFAULT", "AVX2")  # PyTorch's names of what a CPU can do


def quick_precision(precision: str, device: torch.device) -> str:
    """Return the precision to train in: float32 where bfloat16 was asked for and a CPU would emulate it.

    Processors without AVX-512 have no quick products in bfloat16: a step of stage 1 takes them fourteen times as long
    (docs/speed.md). On a GPU, and with any other precision, what was asked for.
    """
    return "32-true" if precision == "bf16-mixed" and emulates_bfloat16(device) else precision


def emulates_bfloat16(device: torch.device) -> bool:
    """Return whether a device is a CPU that makes products in bfloat16 of float32 ones."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in EMULATED_BFLOAT16


def require_devices(device: str, devices: int) -> None:
    """Check that a profile's devices are here.

    Raises:
        ConfigError: they are not; the message says what is.
    """
    if device not in DEVICES:
        raise ConfigError(f"device: expected one of {', '.join(DEVICES)}, found {device}")
    if devices < 1:
        raise ConfigError(f"devices: expected at least 1, found {devices}")
    cards = torch.cuda.device_count()
    if (device == "cuda" or (device == "auto" and cards)) and devices > cards:
        instead = f"set devices to {cards}" if cards else "set device to cpu"
        raise ConfigError(f"device: {device}, devices: {devices}: found {cards} GPUs that torch can use; {instead}")


def gradient_scaler(fabric: "Fabric") -> torch.amp.GradScaler | None:  # pyright: ignore[reportPrivateImportUsage]
    """Return what keeps half precision gradients in range; None with any other precision than 16-mixed."""
    return getattr(fabric.strategy.precision, "scaler", None)


def gather_batch(fabric: "Fabric", share: Tensor) -> Tensor:
    """Return the rows of the whole batch, in its order, from each process's `share` (b, ...)."""
    if fabric.world_size == 1:
        return share
    gathered = fabric.all_gather(share)
    assert isinstance(gathered, Tensor)
    return gathered.flatten(0, 1)


def derive_seed(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on all of `parts`, such as (seed, stage, step)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def derive_generator(*parts: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded with `derive_seed(*parts)`."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


@contextmanager
def default_randomness(*parts: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's default generators within the block and restore them afterwards.

    For code that takes no generator: weight initialization, a VAE's posterior sample.
    """
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.manual_seed(derive_seed(*parts))
        yield
