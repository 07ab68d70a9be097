"""Weights of networks: the files of one, and digests that tell weights apart."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from safetensors.torch import load, load_file, save_model
from torch import Tensor, nn

from alit.errors import CheckpointError
from alit.files import is_utf8

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of a number -> its bits as an integer


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, whatever bytes its path has; raises what safetensors raises."""
    return load_file(path) if is_utf8(path) else load(path.read_bytes())


def save_network(network: nn.Module, config: BaseModel, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` into an existing folder."""
    save_model(network, str(folder / WEIGHTS_FILE))
    (folder / CONFIG_FILE).write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")


def check_weights(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> None:
    """Check that weights are those of a network, name by name and shape by shape.

    Raises:
        CheckpointError: the first tensor that is missing, misshapen or unknown; the message names it and `source`.
    """
    for name, tensor in expected.items():
        if name not in weights:
            raise CheckpointError(f"{source}: missing tensor for {name} {tuple(tensor.shape)}")
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}"
            )
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise CheckpointError(f"{source}: unknown tensor {unknown[0]} ({len(unknown)} in all)")


def weights_sha256(network: nn.Module) -> str:
    """Hash the names, types, shapes and bytes of a network's weights; the same on every device."""
    arrays = ((name, tensor.detach().cpu().contiguous().numpy()) for name, tensor in network.state_dict().items())
    return _digest(hashlib.sha256(), ((f"{name} {array.dtype} {array.shape}", array) for name, array in arrays))


def weights_digest(settings: str, weights: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits for settings and weights, which count as float32 in any precision."""
    arrays = ((name, tensor.detach().float().cpu().contiguous().numpy()) for name, tensor in sorted(weights.items()))
    return _digest(hashlib.blake2b(settings.encode(), digest_size=8), arrays)


def checksum(weights: Mapping[str, Tensor]) -> str:
    """Hash sums of each tensor's bits over rows and over columns: they change with any number and any order.

    Takes a tenth of the time of `weights_digest`: the sums are made where the weights are.
    """
    return _digest(hashlib.blake2b(), _sums_of_bits(weights))


def _sums_of_bits(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, np.ndarray]]:
    for name, tensor in weights.items():
        table = tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach().reshape(1, -1)
        bits = table.contiguous().view(BITS[table.element_size()])
        yield name, bits.sum(0, dtype=bits.dtype).cpu().numpy()
        yield "", bits.sum(1, dtype=bits.dtype).cpu().numpy()


def _digest(whole: Any, parts: Iterable[tuple[str, np.ndarray]]) -> str:
    """Feed names and the bytes of arrays to a hash of hashlib, and return its hexadecimal digits."""
    for name, array in parts:
        whole.update(name.encode())
        whole.update(array.data)
    return whole.hexdigest()
