"""Randomness as a function of where training is: resuming restores nothing and repeats everything."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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

    For what takes no generator: weight initialisation, a VAE's posterior sample.
    """
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.manual_seed(derive_seed(*parts))
        yield
