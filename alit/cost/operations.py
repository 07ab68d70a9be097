"""What can be timed of a tokenizer: encoding and decoding at each length, apart where it allows that."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from alit.encoding import encode_to_length, encode_until
from alit.grid_tokenizer import GridTokenizer
from alit.protocol import Tokenizer
from alit.rollout import Rollout
from alit.tokenizer import AdaptiveTokenizer

ENCODE, ENCODE_UNTIL, DECODE, BOTH = "encode", "encode until it suffices", "decode", "encode and decode"


class Operation(NamedTuple):
    """One thing that a tokenizer does to one image at one length."""

    name: str
    iteration: int  # 1-based place of the length
    length: int
    prepare: Callable[[Tensor], Any]  # from an image (1, 3, h, w) to what `run` takes; not timed
    run: Callable[[Any], object]


class StopAt:
    """A criterion that holds at a length, whatever the image: what deciding costs, apart from what is decided."""

    sees_image_tokens = False

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, images: Tensor, rollout: Rollout) -> Tensor:
        """Return (b,) bool."""
        return torch.full((len(images),), rollout.length >= self.length, device=images.device)


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
        codes = lambda image: tokenizer.base.encode(image).codes  # noqa: E731 - used twice, named once
        return [
            Operation(ENCODE, 1, length, _as_it_is, codes),
            Operation(DECODE, 1, length, codes, tokenizer.base.decode),
        ]
    return [
        Operation(BOTH, iteration, length, _as_it_is, partial(_reconstruct, tokenizer, iteration))
        for iteration, length in enumerate(tokenizer.lengths, start=1)
    ]


def _adaptive(tokenizer: AdaptiveTokenizer, iteration: int, length: int) -> list[Operation]:
    def encode(image: Tensor) -> Tensor:
        return encode_to_length(tokenizer, image, length)[0].values

    def encode_until_it_suffices(image: Tensor) -> object:
        return encode_until(tokenizer, image, StopAt(length))

    def codes(image: Tensor) -> Tensor:
        values = encode(image)[None]
        return values if tokenizer.distillation.quantizer is None else tokenizer.distillation.quantizer.lookup(values)

    def decode(values: Tensor) -> Tensor:
        prediction = tokenizer.distillation.decoder(values, tokenizer.base.codebook).prediction
        return tokenizer.base.decode(prediction.codes)

    return [
        Operation(ENCODE, iteration, length, _as_it_is, encode),
        Operation(ENCODE_UNTIL, iteration, length, _as_it_is, encode_until_it_suffices),
        Operation(DECODE, iteration, length, codes, decode),
    ]


def _reconstruct(tokenizer: Tokenizer, count: int, image: Tensor) -> object:
    return list(islice(tokenizer.reconstructions(image), count))


def _as_it_is(image: Tensor) -> Tensor:
    return image
