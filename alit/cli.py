"""The `alit` command: encode pictures to token files, decode them, look into them, convert and measure checkpoints.

Exit status: 0 when all is done, 2 after one line that says what was wrong, 130 when interrupted.
"""

import argparse
import glob
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from alit.data.images import batch_of, read_view
from alit.data.sources.source import IMAGE_SUFFIXES
from alit.errors import ConfigError, DataError, run_command
from alit.tokenizer.cost import LengthCost, measure_lengths
from alit.tokenizer.encoding import ReconstructionLoss
from alit.tokenizer.published import SIZES, load_published, published_config
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import TokenSet, pack, unpack


def positive_integer(text: str) -> int:
    """Parse a count of at least one, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return int(text)


def positive_number(text: str) -> float:
    """Parse a finite number above zero, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return number


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option --device."""
    parser.add_argument("--device", default="cpu", help="torch device, such as cuda or mps (default: %(default)s)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option --model."""
    parser.add_argument("-m", "--model", required=True, help="folder or hub id of the tokenizer's checkpoint")


def load_tokenizer(model: str, device: str) -> AdaptiveTokenizer:
    """Load a checkpoint folder or hub id onto a device."""
    return to_device(AdaptiveTokenizer.from_pretrained(model), device)


def to_device(tokenizer: AdaptiveTokenizer, device: str) -> AdaptiveTokenizer:
    """Move a tokenizer to a device of this machine.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        return tokenizer.to(torch.device(device)).eval()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise ConfigError(f"expected a torch device of this machine, found {device}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Read a file that a user named."""
    if not path.is_file():
        raise DataError(f"expected a token file at {path}, found none")
    return path.read_bytes()


def make_room(path: Path) -> None:
    """Make the folder of a file that will be written; what makes that impossible is said before any work.

    Raises:
        DataError: the file cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise DataError(f"cannot write to {path}: it is a folder or in one without write permission; choose another")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write below into one line that names the place."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write to {path}: {error.strerror or error}; choose another place") from error


def add_info(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "info", help="what a token file or a checkpoint folder holds", description=run_info.__doc__
    )
    parser.set_defaults(run=run_info)
    parser.add_argument("path", type=Path, help="a token file or a checkpoint folder")


def run_info(arguments: argparse.Namespace) -> None:
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


def add_encode(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("encode", help="pictures to a token file", description=run_encode.__doc__)
    parser.set_defaults(run=run_encode)
    parser.add_argument("images", nargs="+", help="files, folders, globs, or - for paths on standard input, one a line")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the token file to write")
    add_model(parser)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--length", type=positive_integer, help="tokens of every picture")
    how.add_argument(
        "--until-l1",
        type=positive_number,
        metavar="L1",
        help="the fewest tokens, per picture, with a mean absolute pixel error below this; pixels count from 0 to 1",
    )
    how.add_argument(
        "--mean-length",
        type=positive_number,
        metavar="TOKENS",
        help="mean tokens over all pictures, spent where they lower the mean absolute error most",
    )
    parser.add_argument(
        "--batch-size", type=positive_integer, default=16, help="pictures at once (default: %(default)s)"
    )
    add_device(parser)


def run_encode(arguments: argparse.Namespace) -> None:
    """Encode every readable picture; unreadable ones are named, left out, and end the command with status 2."""
    paths = find_images(arguments.images)
    make_room(arguments.output)
    tokenizer = load_tokenizer(arguments.model, arguments.device)
    pictures = Pictures(paths, tokenizer.image_size, arguments.batch_size)
    until = None if arguments.until_l1 is None else ReconstructionLoss(l1=arguments.until_l1)
    tokens = tokenizer.encode(pictures, length=arguments.length, until=until, budget=arguments.mean_length)
    with writing(arguments.output):
        arguments.output.write_bytes(pack(tokens, pictures.names))
    print(describe(tokens))
    if pictures.unreadable:
        raise DataError(
            f"{len(pictures.unreadable)} of {len(paths)} pictures could not be read and are not in "
            f"{arguments.output}: {'; '.join(pictures.unreadable)}"
        )


class Pictures:
    """Batches of the center views of picture files, in order; remembers which files could be read."""

    def __init__(self, paths: Sequence[Path], size: int, batch_size: int) -> None:
        self.names: list[str] = []  # of the pictures so far
        self.unreadable: list[str] = []  # "path: reason"
        self._paths, self._size, self._batch_size = paths, size, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        """Yield images (b, 3, size, size) in [0, 1], with b up to the batch size."""
        views: list[np.ndarray] = []
        for path in tqdm(self._paths, unit="image", disable=None):
            try:
                views.append(read_view(path, self._size))
                self.names.append(path.name)
            except DataError as error:
                self.unreadable.append(str(error))
            if len(views) == self._batch_size:
                yield batch_of(views, self._size)
                views = []
        if views:
            yield batch_of(views, self._size)


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Expand files, folders, globs and - into paths, in the order given; folders are searched to any depth.

    Raises:
        DataError: one of them leads to no picture.
    """
    paths: list[Path] = []
    for argument in arguments:
        found = _expand(argument)
        if not found:
            raise DataError(f"expected pictures at {argument}, found none; give files, folders, globs or -")
        paths += found
    return paths


def _expand(argument: str) -> list[Path]:
    if argument == "-":
        return [Path(line.rstrip("\r\n")) for line in sys.stdin if line.strip()]
    if Path(argument).is_dir():
        return sorted(path for path in Path(argument).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if Path(argument).exists():
        return [Path(argument)]
    return [Path(name) for name in sorted(glob.glob(argument, recursive=True)) if Path(name).is_file()]


STEM_CHARACTERS = 100  # of a picture's own name; file systems allow about 255 bytes


def add_decode(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("decode", help="a token file to PNG pictures", description=run_decode.__doc__)
    parser.set_defaults(run=run_decode)
    parser.add_argument("tokens", type=Path, help="the token file to read")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write to")
    add_model(parser)
    parser.add_argument(
        "--batch-size", type=positive_integer, default=16, help="pictures at once (default: %(default)s)"
    )
    add_device(parser)


def run_decode(arguments: argparse.Namespace) -> None:
    """Write each image of a token file as PNG, under its number and its picture's name."""
    file = unpack(read_bytes(arguments.tokens), source=str(arguments.tokens))
    tokenizer = load_tokenizer(arguments.model, arguments.device)
    names = file.names or [""] * len(file.tokens)
    with writing(arguments.output), tqdm(total=len(names), unit="image", disable=None) as bar:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for rows in torch.arange(len(names)).split(arguments.batch_size):
            images = tokenizer.decode(file.tokens[rows])
            pixels = rearrange((images * 255).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()
            for row, picture in zip(rows.tolist(), pixels, strict=True):
                Image.fromarray(picture).save(arguments.output / file_name(row, names[row]))
            bar.update(len(rows))


def file_name(row: int, name: str) -> str:
    """Return the PNG name of a row of a token file: names from a file are not trusted to be names of files."""
    stem = re.sub(r"[^\w. -]", "_", Path(name).stem)[:STEM_CHARACTERS]
    return f"{row:05d}-{stem}".rstrip("-") + ".png"


LICENSE = "The authors published these weights without a license; the code that reads them is Apache-2.0."


def add_convert(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        help="one of the authors' checkpoints to safetensors and config.json",
        description=run_convert.__doc__,
    )
    parser.set_defaults(run=run_convert)
    parser.add_argument("checkpoint", type=Path, help="a .pth or .safetensors file with the authors' tensor names")
    parser.add_argument("output", type=Path, help="the folder to write to")
    parser.add_argument("--heads", type=positive_integer, help="attention heads, where the size is not a published one")


def run_convert(arguments: argparse.Namespace) -> None:
    """Write a published checkpoint as model.safetensors, config.json and a model card; every tensor is checked."""
    tokenizer = load_published(arguments.checkpoint, heads=arguments.heads)
    card = {
        "source": str(arguments.output),
        "license_text": LICENSE,
        "notes": f"Converted from the authors' `{arguments.checkpoint.name}`.",
    }
    with writing(arguments.output):
        tokenizer.save_pretrained(arguments.output, model_card_kwargs=card)
    print(f"wrote {arguments.output}: {describe_tokenizer(tokenizer)}")


HEADINGS = ("tokens", "bits", "encode ms", "decode ms", "encode GFLOP", "decode GFLOP", "images/s", "peak MiB")


def add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench", help="what encoding and decoding cost on this machine", description=run_bench.__doc__
    )
    parser.set_defaults(run=run_bench)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("model", nargs="?", help="folder or hub id of a checkpoint")
    which.add_argument("--size", choices=list(SIZES), help="a published size of 256 px, with random weights, instead")
    parser.add_argument("--batch-size", type=positive_integer, default=1, help="images at once (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=positive_integer, default=3, help="timed runs; their median counts (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_device(parser)


def run_bench(arguments: argparse.Namespace) -> None:
    """Measure each length: milliseconds, bits and GFLOP (two per multiply-add) of an image, images encoded a second.

    The peak is the memory in MiB of the tensors that are alive at once for the whole batch, beside the weights.
    """
    if arguments.model is None:
        tokenizer = to_device(AdaptiveTokenizer(published_config(arguments.size)), arguments.device)
    else:
        tokenizer = load_tokenizer(arguments.model, arguments.device)
    shape = (arguments.batch_size, 3, tokenizer.image_size, tokenizer.image_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(tokenizer.device)
    lengths = measure_lengths(tokenizer, images, rounds=arguments.rounds)
    costs = list(tqdm(lengths, total=len(tokenizer.lengths), unit="length", disable=None))
    settings = {"batch_size": arguments.batch_size, "rounds": arguments.rounds, **describe_machine(tokenizer.device)}
    if arguments.json:
        what = {"model": arguments.model or f"{arguments.size}, random weights"}
        print(json.dumps({**what, **settings, "lengths": [cost._asdict() for cost in costs]}, indent=2))
        return
    print(describe_tokenizer(tokenizer))
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    print(table(costs))


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what the times depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def table(costs: list[LengthCost]) -> str:
    """Return lengths as lines of right-aligned columns."""
    rows = [HEADINGS, *(tuple(map(_format, cost)) for cost in costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _format(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    arguments = build_parser().parse_args(argv)
    arguments.run(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="alit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_to in (add_encode, add_decode, add_info, add_convert, add_bench):
        add_to(commands)
    return parser


def console() -> None:
    """Entry point of the `alit` command."""
    run_command(main)


if __name__ == "__main__":
    console()
