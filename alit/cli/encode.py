"""`alit encode`: pictures to a token file."""

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from alit.cli.arguments import (
    add_device,
    add_model,
    load_tokenizer,
    make_room,
    positive_integer,
    positive_number,
    writing,
)
from alit.cli.info import describe
from alit.data.images import batch_of, read_view
from alit.data.sources.source import IMAGE_SUFFIXES
from alit.errors import DataError
from alit.tokenizer.encoding import ReconstructionLoss
from alit.tokenizer.tokens import pack


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("encode", help="pictures to a token file", description=run.__doc__)
    parser.set_defaults(run=run)
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


def run(arguments: argparse.Namespace) -> None:
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
    """Batches of the centre views of picture files, in order; remembers which files could be read."""

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
