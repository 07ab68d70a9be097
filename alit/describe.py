"""What token files, folders of `alit tokenize` and checkpoints hold, as numbers and as a line of text."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alit.tokenizer.parquet import part_files, read_card, read_columns
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import TokenSet


class LengthCount(NamedTuple):
    """How many images have one length."""

    length: int
    images: int


class TokensSummary(NamedTuple):
    """What a token set holds; means, `shortest` and `longest` of no images are None."""

    tokenizer: str  # fingerprint
    images: int
    codebook_size: int | None  # None: continuous codes
    mean_tokens: float | None
    shortest: int | None
    longest: int | None
    mean_bytes: float | None
    unsatisfied: int
    lengths: tuple[LengthCount, ...]  # those that occur, shortest first

    def __str__(self) -> str:
        """Return a line about it."""
        if not self.images:
            return f"no images, of tokenizer {self.tokenizer}"
        kind = "continuous codes" if self.codebook_size is None else f"ids of {self.codebook_size} codes"
        return (
            f"{self.images} images, {self.mean_tokens:.1f} tokens on average ({self.shortest} to {self.longest}), "
            f"{kind}, {self.mean_bytes:.0f} bytes each; {self.unsatisfied} unsatisfied; tokenizer {self.tokenizer}"
        )


class TokenizerSummary(NamedTuple):
    """What a checkpoint is."""

    tokenizer: str  # fingerprint
    image_size: int  # px
    base: str
    image_tokens: int
    lengths: tuple[int, ...]
    bits_per_token: int
    parameters: int

    def __str__(self) -> str:
        """Return a line about it."""
        return (
            f"tokenizer {self.tokenizer}: {self.image_size} px, {self.base} base of {self.image_tokens} image tokens, "
            f"lengths {', '.join(map(str, self.lengths))}, {self.bits_per_token} bits a token, "
            f"{self.parameters:,} parameters"
        )


def describe_tokenizer(tokenizer: AdaptiveTokenizer) -> TokenizerSummary:
    """Return what a tokenizer is."""
    config = tokenizer.config
    return TokenizerSummary(
        tokenizer=tokenizer.fingerprint,
        image_size=config.image_size,
        base=config.base.kind,
        image_tokens=config.image_tokens,
        lengths=tuple(tokenizer.lengths),
        bits_per_token=tokenizer.bits_per_token,
        parameters=sum(parameter.numel() for parameter in tokenizer.parameters()),
    )


def describe_tokens(tokens: TokenSet) -> TokensSummary:
    """Return what a token set holds."""
    return _summary(tokens.lengths, tokens.bits, tokens.satisfied, tokens.codebook_size, tokens.model)


def describe_parts(path: Path) -> TokensSummary:
    """Return what `alit tokenize` wrote into a folder or one of its files, without reading the tokens.

    Raises:
        TokenFileError: it is missing or damaged.
    """
    files = part_files(path)
    card = read_card(files[0])
    columns = [read_columns(file, ("length", "bits", "satisfied")) for file in files]
    lengths, bits, satisfied = (
        torch.from_numpy(np.concatenate([part[name].to_numpy(zero_copy_only=False) for part in columns]))
        for name in ("length", "bits", "satisfied")
    )
    return _summary(lengths, bits, satisfied, card.codebook_size, card.model)


def to_json(value: Any) -> str:
    """Return JSON of a summary, or of what holds some: the fields of named tuples become keys."""
    return json.dumps(_plain(value), indent=2)


def _plain(value: Any) -> Any:
    if fields := getattr(value, "_asdict", None):
        value = fields()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _summary(lengths: Tensor, bits: Tensor, satisfied: Tensor, codebook_size: int | None, model: str) -> TokensSummary:
    """Return the summary of images (b,) of these token counts and sizes."""
    found, counts = lengths.unique(return_counts=True)
    known = len(lengths) > 0
    return TokensSummary(
        tokenizer=model,
        images=len(lengths),
        codebook_size=codebook_size,
        mean_tokens=float(lengths.double().mean()) if known else None,
        shortest=int(found[0]) if known else None,
        longest=int(found[-1]) if known else None,
        mean_bytes=float(bits.double().mean()) / 8 if known else None,
        unsatisfied=int((~satisfied).sum()),
        lengths=tuple(map(LengthCount, found.tolist(), counts.tolist())),
    )
