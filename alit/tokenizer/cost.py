"""What encoding and decoding cost: operations that can be timed, their time, floating-point operations and memory."""

import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from alit.tokenizer.adapters import GridTokenizer
from alit.tokenizer.encoding import FixedLength, encode_to_length, encode_until
from alit.tokenizer.protocol import PreparedImages, Tokenizer, prepare_images, run_tokenizer
from alit.tokenizer.tokenizer import AdaptiveTokenizer

ENCODE, ENCODE_UNTIL, DECODE, BOTH = "encode", "encode until it suffices", "decode", "encode and decode"


class Operation(NamedTuple):
    """One thing that a tokenizer does to images at one length."""

    name: str
    iteration: int  # 1-based place of the length
    length: int
    prepare: Callable[[Tensor], Any]  # from images (b, 3, h, w) to what `run` takes; not timed
    run: Callable[[Any], object]


def operations(tokenizer: Tokenizer) -> list[Operation]:
    """Return what is timed of a tokenizer, shortest length first.

    An adaptive tokenizer encodes to a length, which needs no decoder; encodes until a criterion on pixels holds, which
    rebuilds the image at each iteration as choosing a length per image does; and decodes. Of a tokenizer that only
    keeps the protocol, encoding and decoding are timed together, with the shorter lengths that come on the way.
    """
    if isinstance(tokenizer, AdaptiveTokenizer):
        lengths = list(enumerate(tokenizer.lengths, start=1))
        return [part for iteration, length in lengths for part in _adaptive(tokenizer, iteration, length)]
    if isinstance(tokenizer, GridTokenizer):
        (length,) = tokenizer.lengths
        codes = lambda images: tokenizer.base.encode(images).codes  # noqa: E731 - used twice, named once
        return [
            Operation(ENCODE, 1, length, _as_it_is, codes),
            Operation(DECODE, 1, length, codes, tokenizer.base.decode),
        ]
    return [
        Operation(
            BOTH, iteration, length, partial(prepare_images, tokenizer), partial(_reconstruct, tokenizer, iteration)
        )
        for iteration, length in enumerate(tokenizer.lengths, start=1)
    ]


def _adaptive(tokenizer: AdaptiveTokenizer, iteration: int, length: int) -> list[Operation]:
    # What deciding costs, apart from what is decided: pixels are decoded at each length, whatever they look like.
    criterion = FixedLength(length, sees_pixels=True)

    def encode(images: Tensor) -> Tensor:
        return torch.cat([tokens.values for tokens in encode_to_length(tokenizer, images, length)])

    def encode_until_it_suffices(images: Tensor) -> object:
        return encode_until(tokenizer, images, criterion)

    def codes(images: Tensor) -> Tensor:
        values = rearrange(encode(images), "(b k) ... -> b k ...", k=length)
        return values if tokenizer.distillation.quantizer is None else tokenizer.distillation.quantizer.lookup(values)

    def decode(values: Tensor) -> Tensor:
        prediction = tokenizer.distillation.decode(values, tokenizer.base.codebook).prediction
        return tokenizer.base.decode(prediction.codes)

    return [
        Operation(ENCODE, iteration, length, _as_it_is, encode),
        Operation(ENCODE_UNTIL, iteration, length, _as_it_is, encode_until_it_suffices),
        Operation(DECODE, iteration, length, codes, decode),
    ]


def _reconstruct(tokenizer: Tokenizer, count: int, prepared: PreparedImages) -> object:
    return list(islice(run_tokenizer(tokenizer, prepared), count))


def _as_it_is(images: Tensor) -> Tensor:
    return images


GIGA, MEBI = 1e9, 2**20


def seconds_of(operation: Operation, images: Tensor) -> float:
    """Return the time that an operation takes on images (b, 3, h, w), until its device has finished."""
    prepared = operation.prepare(images)
    _wait_for(images.device)
    start = time.perf_counter()
    operation.run(prepared)
    _wait_for(images.device)
    return time.perf_counter() - start


def count_flop(run: Callable[[], object]) -> int:
    """Return the floating-point operations of a call, two per multiply-add, by torch's counter."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def gigaflop(operation: Operation, images: Tensor) -> float:
    """Return the floating-point operations on images (b, 3, h, w) in units of 1e9."""
    prepared = operation.prepare(images)
    return count_flop(lambda: operation.run(prepared)) / GIGA


def peak_mebibytes(operation: Operation, images: Tensor) -> float:
    """Return the most memory in MiB of tensors that an operation makes and that are alive at once."""
    prepared = operation.prepare(images)
    with LiveTensors() as live:
        operation.run(prepared)
    return live.peak / MEBI


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors made within the block that are alive: the same on any machine.

    Weights, inputs, and what a kernel needs for itself while it runs, are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count the storage of its results."""
        tree_map_only(Tensor, lambda tensor: self._known.add(tensor.untyped_storage()._cdata), (args, kwargs))
        result = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.alive -= size


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class LengthCost(NamedTuple):
    """What one length costs; times, operations and bits are those of one image."""

    length: int  # latent tokens
    bits: int
    encode_ms: float  # milliseconds, median of the rounds
    decode_ms: float
    encode_gflop: float  # two operations per multiply-add, by torch's counter
    decode_gflop: float
    images_per_second: float  # encoded
    peak_mib: float  # most memory of tensors alive at once for the batch, beside weights and images


@torch.no_grad()
def measure_lengths(tokenizer: AdaptiveTokenizer, images: Tensor, *, rounds: int) -> Iterator[LengthCost]:
    """Yield the cost of encoding to and decoding from each length, shortest first.

    Args:
        tokenizer: in eval mode.
        images: (b, 3, h, w) float32 in [0, 1] on the tokenizer's device, taken as one batch.
        rounds: how often encoding and decoding are timed, one after the other; counting their operations goes first
            and warms up.
    """
    count = len(images)
    work = {(operation.name, operation.length): operation for operation in operations(tokenizer)}
    for length in tokenizer.lengths:
        encode, decode = work[ENCODE, length], work[DECODE, length]
        encode_gflop, decode_gflop = (gigaflop(operation, images) / count for operation in (encode, decode))
        peak = max(peak_mebibytes(operation, images) for operation in (encode, decode))
        times = [[seconds_of(operation, images) for operation in (encode, decode)] for _ in range(rounds)]
        encode_seconds, decode_seconds = (statistics.median(column) / count for column in zip(*times, strict=True))
        yield LengthCost(
            length,
            length * tokenizer.bits_per_token,
            1e3 * encode_seconds,
            1e3 * decode_seconds,
            encode_gflop,
            decode_gflop,
            1 / encode_seconds,
            peak,
        )
