"""`alit info`: what a token file or a checkpoint holds."""

import argparse
from pathlib import Path

from alit.cli.arguments import load_tokenizer, read_bytes
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import TokenSet, unpack


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("info", help="what a token file or a checkpoint folder holds", description=run.__doc__)
    parser.set_defaults(run=run)
    parser.add_argument("path", type=Path, help="a token file or a checkpoint folder")


def run(arguments: argparse.Namespace) -> None:
    """Print what a token file or a checkpoint folder holds: lengths in tokens, sizes in bits, bytes and parameters."""
    if arguments.path.is_dir():
        print(describe_tokenizer(load_tokenizer(str(arguments.path), "cpu")))
    else:
        print(describe(unpack(read_bytes(arguments.path), source=str(arguments.path)).tokens))


def describe_tokenizer(tokenizer: AdaptiveTokenizer) -> str:
    """Return a line about a tokenizer."""
    config = tokenizer.config
    parameters = sum(parameter.numel() for parameter in tokenizer.parameters())
    return (
        f"tokenizer {tokenizer.fingerprint}: {config.image_size} px, {config.base.kind} base of "
        f"{config.image_tokens} image tokens, lengths {', '.join(map(str, tokenizer.lengths))}, "
        f"{tokenizer.bits_per_token} bits a token, {parameters:,} parameters"
    )


def describe(tokens: TokenSet) -> str:
    """Return a line about a token set."""
    if not len(tokens):
        return f"no images, of tokenizer {tokens.model}"
    kind = "continuous codes" if tokens.is_continuous else f"ids of {tokens.codebook_size} codes"
    mean = float(tokens.lengths.float().mean())
    return (
        f"{len(tokens)} images, {mean:.1f} tokens on average ({int(tokens.lengths.min())} to "
        f"{int(tokens.lengths.max())}), {kind}, {float(tokens.bits.float().mean()) / 8:.0f} bytes each; "
        f"{int((~tokens.satisfied).sum())} unsatisfied; tokenizer {tokens.model}"
    )
