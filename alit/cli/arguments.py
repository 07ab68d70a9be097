"""What several commands take: numbers with a range, a tokenizer on a device, files to read and to write."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from alit.errors import ConfigError, DataError
from alit.tokenizer.tokenizer import AdaptiveTokenizer


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
