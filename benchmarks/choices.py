"""What each choice of how to compute is worth on a CPU: `python benchmarks/choices.py [-o FILE]`.

Each alternative to a choice that alit made is put in its place and timed by turns with alit as it is, random weights:

- attention written out as two matrix products and a softmax, instead of torch's fused one;
- convolutions in torch's own layout, channels first, instead of channels last;
- all rows computed in the last layers, of which only latents or image tokens are read;
- the sequence kept in one buffer as long as it will ever be, instead of being concatenated again each iteration;
- weights digested at each call for the name of the tokenizer, instead of only where they changed.

Sizes are a profile's, or the published one at a quarter of its widths. Above 1: alit as it is takes less.
"""

from measure import machine, ratio, take_turns  # isort: skip - before torch

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from einops import rearrange
from networks import read_profile, sizes_of
from output import tell
from torch import Tensor
from torch.nn import functional

from alit.errors import run_command
from alit.models.distillation import LatentEncoder, TokenizerConfig
from alit.models.transformer import Transformer, TransformerOutput
from alit.tokenizer import checkpoint as fingerprint
from alit.tokenizer.encoding import ReconstructionLoss
from alit.tokenizer.tokenizer import AdaptiveTokenizer

QUARTER = "published, a quarter of its widths"
BUFFER = "one buffer"
WITHOUT_BUFFER = ("encode until, to the end", "learn")  # done images leave the batch; gradients need what was there
IMAGES = {"cpu": 64, "imagenette": 16, QUARTER: 2}  # of one batch


class Alternative(NamedTuple):
    """One other way to compute: other objects, other functions, or both."""

    tokenizer: AdaptiveTokenizer
    patches: Callable[[], AbstractContextManager[Any]]


class BufferedEncoder(LatentEncoder):
    """Keeps the sequence in a buffer of its final length, in which the new latents of all iterations stand already."""

    def start(self, images: Tensor, features: Tensor) -> Tensor:
        """Write the class and image tokens to the front of a new buffer, and all new latents behind them."""
        tokens = super().start(images, features)
        new = rearrange(self.new_latents + self.latent_positions + self.iteration_embedding, "t s d -> (t s) d")
        first_latent = tokens.shape[1]
        self.buffer = tokens.new_empty(len(tokens), first_latent + len(new), tokens.shape[2])
        self.buffer[:, :first_latent] = tokens
        self.buffer[:, first_latent:] = new
        return self.buffer[:, :first_latent]

    def iterate(self, sequence: Tensor, iteration: int, rows: slice = slice(None)) -> Tensor:
        """Refine the front of the buffer in its place."""
        front = self.buffer[:, : sequence.shape[1] + len(self.new_latents)]
        norm = self.norm_first if iteration == 1 else self.norm_next
        refined = self.transformer(norm(front), rows=rows).tokens
        return front.copy_(refined) if rows == slice(None) else refined


def attention_written_out(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Stand in for `scaled_dot_product_attention`."""
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ values


whole_forward = Transformer.forward


def all_rows(self: Transformer, tokens: Tensor, *, rows: slice = slice(None), attention: bool = False) -> Any:
    """Stand in for `Transformer.forward`: leave the other rows out only at the end."""
    output = whole_forward(self, tokens, attention=attention)
    return TransformerOutput(output.tokens[:, rows], output.attention)


@contextmanager
def no_memory_of_digests() -> Iterator[None]:
    """Let every fingerprint be worked out."""
    with patch.object(fingerprint.Fingerprint, "__call__", lambda self, *inputs: fingerprint.digest(*inputs)):
        yield


def alternatives(tokenizer: AdaptiveTokenizer) -> dict[str, Alternative]:
    """Return every alternative to a tokenizer as it is, and that one itself."""
    channels_first, buffered = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    channels_first.base.to(memory_format=torch.contiguous_format)
    buffered.distillation.encoder.__class__ = BufferedEncoder
    return {
        "as it is": Alternative(tokenizer, nullcontext),
        "attention written out": Alternative(
            tokenizer, partial(patch.object, functional, "scaled_dot_product_attention", attention_written_out)
        ),
        "channels first": Alternative(channels_first, nullcontext),
        "all rows in last layers": Alternative(tokenizer, partial(patch.object, Transformer, "forward", all_rows)),
        BUFFER: Alternative(buffered, nullcontext),
        "digest at each call": Alternative(tokenizer, no_memory_of_digests),
    }


def tokenizer_config(size: str) -> TokenizerConfig:
    """Return the settings of a profile's tokenizer, or of the published one with narrower layers."""
    profile = "paper" if size == QUARTER else size
    config = read_profile(profile).tokenizer
    if size != QUARTER:
        return config
    base = config.base.model_copy(update={"channels": config.base.channels // 4, "code_size": 64})
    distillation = config.distillation.model_copy(update={"width": config.distillation.width // 4})
    return config.model_copy(update={"base": base, "distillation": distillation})


def operations(tokenizer: AdaptiveTokenizer, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return what is timed of a tokenizer."""
    middle = tokenizer.lengths[len(tokenizer.lengths) // 2]
    tokens = tokenizer.encode(images, length=middle)
    return {
        "encode one image, shortest": partial(tokenizer.encode, images[:1], length=tokenizer.lengths[0]),
        "encode, half of the lengths": partial(tokenizer.encode, images, length=middle),
        "encode until, to the end": partial(tokenizer.encode, images, until=ReconstructionLoss(l1=0.0)),
        "decode": partial(tokenizer.decode, tokens),
        "learn": partial(learn, tokenizer, images[: max(1, len(images) // 4)]),
    }


def learn(tokenizer: AdaptiveTokenizer, images: Tensor) -> None:
    """Take the gradients of a loss on pixels after half of the iterations."""
    base = tokenizer.base
    half = tokenizer.config.iterations // 2
    steps = tokenizer.distillation.iterate(images, base.encode(images), base.codebook, last=half, decode={half})
    for step in steps:
        if step.prediction is not None:
            (base.decode(step.prediction.codes) - images).abs().mean().backward()
    tokenizer.zero_grad()


def compare(size: str, rounds: int) -> dict[str, Any]:
    """Return the ratios of each alternative's time to that of alit as it is, for each operation."""
    config = tokenizer_config(size)
    tokenizer = AdaptiveTokenizer(config).eval()
    images = torch.rand(IMAGES[size], 3, config.image_size, config.image_size)
    ways = alternatives(tokenizer)
    calls = {
        (way, operation): partial(run_patched, alternative, call)
        for way, alternative in ways.items()
        for operation, call in operations(alternative.tokenizer, images).items()
        if way != BUFFER or operation not in WITHOUT_BUFFER
    }
    seconds = take_turns(calls, rounds)
    result: dict[str, Any] = {}
    for way, operation in calls:
        if way != "as it is":
            times = ratio(seconds[way, operation], seconds["as it is", operation])
            result.setdefault(operation, {})[way] = times
    return result


def run_patched(alternative: Alternative, call: Callable[[], object]) -> None:
    """Run a call the other way."""
    with alternative.patches():
        call()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=IMAGES, default=list(IMAGES))
    parser.add_argument("--rounds", type=int, default=5, help="repeats of each call (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    result = {
        "command": "python benchmarks/choices.py",
        "rounds": arguments.rounds,
        "machine": machine(),
        "networks": {size: sizes_of(tokenizer_config(size)) for size in arguments.sizes},
        "time_over_as_it_is": {size: compare(size, arguments.rounds) for size in arguments.sizes},
    }
    tell(result, arguments.output)


if __name__ == "__main__":
    run_command(main)
