"""Fingerprints of networks: part of the record of every number they make."""

import hashlib

from torch import nn


def weights_sha256(network: nn.Module) -> str:
    """Hash the names, types, shapes and bytes of a network's weights; the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
