"""The cost of each length of an adaptive tokenizer on this machine, in batches: what `alit bench` prints."""

import statistics
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from alit.cost.measure import gigaflop, peak_mebibytes, seconds_of
from alit.cost.operations import DECODE, ENCODE, operations
from alit.tokenizer.tokenizer import AdaptiveTokenizer


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
