"""What can be timed of a tokenizer: encoding and decoding at each length, apart where it allows that."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from alit.tokenizer.adapters import GridTokenizer
from alit.tokenizer.encoding import FixedLength, encode_to_length, encode_until
from alit.tokenizer.protocol import Tokenizer
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
        Operation(BOTH, iteration, length, _as_it_is, partial(_reconstruct, tokenizer, iteration))
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
        prediction = tokenizer.distillation.decoder(values, tokenizer.base.codebook).prediction
        return tokenizer.base.decode(prediction.codes)

    return [
        Operation(ENCODE, iteration, length, _as_it_is, encode),
        Operation(ENCODE_UNTIL, iteration, length, _as_it_is, encode_until_it_suffices),
        Operation(DECODE, iteration, length, codes, decode),
    ]


def _reconstruct(tokenizer: Tokenizer, count: int, images: Tensor) -> object:
    return list(islice(tokenizer.reconstructions(images), count))


def _as_it_is(images: Tensor) -> Tensor:
    return images
