"""The `alit` command: encode pictures to token files, decode them, look into them, convert published checkpoints."""

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from alit.criteria import ReconstructionLoss
from alit.data.decode import read_image
from alit.data.sources import IMAGE_SUFFIXES
from alit.data.transforms import centre_view, to_images
from alit.errors import CheckpointError, DataError, run_command
from alit.published import load_published
from alit.token_file import pack, unpack
from alit.tokenizer import AdaptiveTokenizer
from alit.tokens import TokenSet


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    arguments = build_parser().parse_args(argv)
    arguments.run(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="alit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    encode = commands.add_parser("encode", help="pictures to a token file")
    encode.set_defaults(run=encode_command)
    encode.add_argument("images", nargs="+", help="files, folders, globs, or - for paths on standard input, one a line")
    encode.add_argument("-o", "--output", type=Path, required=True, help="the token file to write")
    encode.add_argument("--batch-size", type=int, default=16, help="pictures at once (default: %(default)s)")
    how = encode.add_mutually_exclusive_group(required=True)
    how.add_argument("--length", type=int, help="tokens of every picture")
    how.add_argument("--until-l1", type=float, help="fewest tokens with a mean absolute error below this, in [0, 1]")
    how.add_argument("--mean-length", type=float, help="mean tokens over all pictures, spent where they help most")
    decode = commands.add_parser("decode", help="a token file to PNG pictures")
    decode.set_defaults(run=decode_command)
    decode.add_argument("tokens", type=Path, help="the token file to read")
    decode.add_argument("-o", "--output", type=Path, required=True, help="the folder to write to")
    for command in (encode, decode):
        command.add_argument("-m", "--model", required=True, help="folder or hub id of the tokenizer's checkpoint")
        command.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    info = commands.add_parser("info", help="what a token file or a checkpoint folder holds")
    info.set_defaults(run=info_command)
    info.add_argument("path", type=Path)
    convert = commands.add_parser("convert", help="one of the authors' checkpoints to safetensors and config.json")
    convert.set_defaults(run=convert_command)
    convert.add_argument("checkpoint", type=Path)
    convert.add_argument("output", type=Path, help="the folder to write to")
    convert.add_argument("--heads", type=int, help="attention heads, where the size is not a published one")
    return parser


class Picture(NamedTuple):
    """One readable input."""

    name: str
    pixels: np.ndarray  # (h, w, 3) uint8


def encode_command(arguments: argparse.Namespace) -> None:
    """Encode every readable picture; unreadable ones are named, left out, and make the command fail at its end."""
    tokenizer = load_tokenizer(arguments.model, arguments.device)
    paths = find_images(arguments.images)
    unreadable: list[str] = []
    pictures = read_pictures(paths, tokenizer.image_size, unreadable)
    names: list[str] = []
    if arguments.mean_length is not None:
        batch = list(pictures)
        names = [picture.name for picture in batch]
        images = to_batch(batch, tokenizer.image_size, arguments.device)
        tokens = tokenizer.encode(images, budget=arguments.mean_length, batch_size=arguments.batch_size)
    else:
        until = None if arguments.until_l1 is None else ReconstructionLoss(l1=arguments.until_l1)
        parts = []
        for batch in in_batches(pictures, arguments.batch_size):
            images = to_batch(batch, tokenizer.image_size, arguments.device)
            parts.append(tokenizer.encode(images, length=arguments.length, until=until))
            names += [picture.name for picture in batch]
        tokens = (
            TokenSet.concatenate(parts)
            if parts
            else tokenizer.encode(to_batch([], tokenizer.image_size, arguments.device), budget=0.0)
        )
    arguments.output.write_bytes(pack(tokens, names))
    print(describe(tokens))
    if unreadable:
        raise DataError(
            f"{len(unreadable)} of {len(paths)} pictures could not be read and are not in {arguments.output}: "
            + "; ".join(unreadable)
        )


def decode_command(arguments: argparse.Namespace) -> None:
    """Write each image of a token file as PNG, under its picture's name or its number."""
    file = unpack(read_bytes(arguments.tokens), source=str(arguments.tokens))
    tokenizer = load_tokenizer(arguments.model, arguments.device)
    arguments.output.mkdir(parents=True, exist_ok=True)
    stems = [Path(name).stem for name in file.names or [""] * len(file.tokens)]
    for index in tqdm(range(len(file.tokens)), unit="image", disable=None):
        image = tokenizer.decode(file.tokens[index])[0]
        pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
        stem = f"{index:05d}-{stems[index]}".rstrip("-")
        Image.fromarray(pixels).save(arguments.output / f"{stem}.png")


def info_command(arguments: argparse.Namespace) -> None:
    """Print what a token file or a checkpoint holds."""
    if arguments.path.is_dir():
        tokenizer = load_tokenizer(str(arguments.path), "cpu")
        config = tokenizer.config
        print(f"tokenizer {tokenizer.fingerprint}: {config.image_size} px, {config.base.kind} base of")
        print(f"{config.image_tokens} image tokens, lengths {', '.join(map(str, tokenizer.lengths))},")
        print(f"{tokenizer.bits_per_token} bits a token, {sum(p.numel() for p in tokenizer.parameters()):,} parameters")
        return
    print(describe(unpack(read_bytes(arguments.path), source=str(arguments.path)).tokens))


def convert_command(arguments: argparse.Namespace) -> None:
    """Write a published checkpoint as safetensors and config.json."""
    load_published(arguments.checkpoint, heads=arguments.heads).save_pretrained(arguments.output)
    print(f"wrote {arguments.output / 'model.safetensors'} and {arguments.output / 'config.json'}")


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


def load_tokenizer(model: str, device: str) -> AdaptiveTokenizer:
    """Load a checkpoint folder or hub id onto a device."""
    if Path(model).exists() and not (Path(model) / "config.json").is_file():
        raise CheckpointError(f"expected config.json and model.safetensors in {model}, found no config.json")
    return AdaptiveTokenizer.from_pretrained(model).to(device).eval()


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Expand files, folders, globs and - into paths, in the order given; folders are searched to any depth."""
    paths: list[Path] = []
    for argument in arguments:
        if argument == "-":
            paths += [Path(line.strip()) for line in sys.stdin if line.strip()]
        elif Path(argument).is_dir():
            paths += sorted(path for path in Path(argument).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        elif Path(argument).is_file():
            paths.append(Path(argument))
        else:
            paths += sorted(map(Path, glob.glob(argument, recursive=True)))
    if not paths:
        raise DataError(f"expected pictures, found none in {' '.join(arguments)}; give files, folders or globs")
    return paths


def read_pictures(paths: Sequence[Path], size: int, unreadable: list[str]) -> Iterator[Picture]:
    """Yield the centre view of each readable file; add `name: reason` to `unreadable` for each other."""
    for path in tqdm(paths, unit="image", disable=None):
        try:
            yield Picture(path.name, centre_view(read_image(path), size))
        except DataError as error:
            unreadable.append(f"{path}: {error}")


def in_batches(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """Group pictures, the last group being shorter where they do not divide."""
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def to_batch(pictures: Sequence[Picture], size: int, device: str) -> Tensor:
    """Stack pictures to images (b, 3, size, size) in [0, 1]; b may be zero."""
    if not pictures:
        return torch.empty(0, 3, size, size, device=device)
    return to_images(np.stack([picture.pixels for picture in pictures])).to(device)


def read_bytes(path: Path) -> bytes:
    """Read a file that a user named."""
    if not path.is_file():
        raise DataError(f"expected a token file at {path}, found none")
    return path.read_bytes()


def console() -> None:
    """Entry point of the `alit` command."""
    run_command(main)


if __name__ == "__main__":
    console()
