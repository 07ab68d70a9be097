"""Which tokenizer made some tokens: a digest of its settings and weights."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of a number -> its bits as an integer


class Fingerprint:
    """The digest of one tokenizer, worked out again only where its weights have changed.

    Digesting every weight takes longer than encoding an image. Checksums tell in a tenth of the time whether that is
    due. (Tensors' version counters would be free, but fused optimisers and `.data` change weights behind their back.)
    """

    def __init__(self) -> None:
        self._known: tuple[str, bytes, str] | None = None  # settings, checksums, and the digest that they had

    def __call__(self, settings: str, weights: Mapping[str, Tensor]) -> str:
        """Return 16 hexadecimal digits for settings and weights."""
        sums = checksums(weights)
        if self._known is None or self._known[:2] != (settings, sums):
            self._known = settings, sums, digest(settings, weights)
        return self._known[2]


def digest(settings: str, weights: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits for settings and weights, which count as float32 in any precision."""
    whole = hashlib.blake2b(settings.encode(), digest_size=8)
    for name, tensor in sorted(weights.items()):
        whole.update(name.encode())
        whole.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return whole.hexdigest()


def checksums(weights: Mapping[str, Tensor]) -> bytes:
    """Return sums of each tensor's bits over rows and over columns: they change with any number and any order."""
    whole = hashlib.blake2b()
    for name, tensor in weights.items():
        table = tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach().reshape(1, -1)
        words = table.contiguous().view(WORDS[table.element_size()])
        whole.update(name.encode())
        for dimension in (0, 1):
            whole.update(words.sum(dimension, dtype=words.dtype).cpu().numpy().data)
    return whole.digest()
