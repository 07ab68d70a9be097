"""The `alit` command: encode pictures and data sets, decode and view tokens, convert and measure checkpoints.

Exit status: 0 when all is done, 2 after one line that says what was wrong, 130 when interrupted.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from alit.environment import settle_environment
from alit.errors import require, run_command
from alit.signals import interrupts

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
SHELLS = ("bash", "zsh", "fish")
SIZES = ("tiny", "small", "base", "semilarge")  # names of `alit.tokenizer.published.SIZES`, without its imports


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the commands; torch is imported only after the arguments have been checked."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "completion":
        from alit.completion import completion_script

        print(completion_script(parser, arguments.shell))
        return
    if arguments.command == "explore":
        require("pandas", "pandera", "pyarrow", "scipy", "vl_convert")
    with interrupts(signal.SIG_DFL):  # an exception would come out of the middle of an import
        if arguments.command == "explore":
            from alit.explore import explore as command
        elif arguments.command == "view":
            from alit.view import view as command
        else:
            from alit.commands import COMMANDS

            command = COMMANDS[arguments.command]
    command(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="alit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_to in (
        add_encode,
        add_tokenize,
        add_decode,
        add_view,
        add_explore,
        add_info,
        add_convert,
        add_bench,
        add_completion,
    ):
        add_to(commands)
    return parser


def add_encode(commands: Subparsers) -> None:
    """Add `alit encode`."""
    parser = commands.add_parser(
        "encode",
        help="pictures to a token file",
        description="Encode every readable picture; unreadable ones are named, left out, and end the command with "
        "status 2. The same command again goes on where it was stopped.",
    )
    parser.add_argument(
        "images",
        nargs="+",
        type=not_empty,
        help="files, folders, globs, or - for paths on standard input, one a line or between NULs",
    )
    parser.add_argument("-o", "--output", type=path, required=True, help="the token file to write")
    parser.add_argument("--strict", action="store_true", help="stop at the first unreadable picture")
    add_force(parser)
    add_model(parser)
    add_lengths(parser, mean="--mean-length")
    add_batch_size(parser, "pictures", default=16)
    add_device(parser)
    add_progress(parser)


def add_lengths(parser: argparse.ArgumentParser, *, mean: str) -> None:
    """Add what says how many tokens each picture takes; `mean` is the option of a mean over all of them."""
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--length", type=positive_integer, help="tokens of every picture")
    how.add_argument(
        "--until-l1",
        type=positive_number,
        metavar="L1",
        help="the fewest tokens, per picture, with a mean absolute pixel error below this; pixels count from 0 to 1",
    )
    how.add_argument(
        "--until-predicted-l1",
        type=positive_number,
        metavar="L1",
        help="the fewest tokens, per picture, that are predicted to keep the error below this; tries none, and takes a "
        "checkpoint with a length predictor",
    )
    parser.add_argument(
        "--confidence",
        type=share,
        metavar="SHARE",
        help="least share of the pictures that can keep --until-predicted-l1 that is to keep it (default: 0.9)",
    )
    how.add_argument(
        mean,
        type=positive_number,
        metavar="TOKENS",
        help="mean tokens over all pictures, spent where they lower the mean absolute error most",
    )


def add_tokenize(commands: Subparsers) -> None:
    """Add `alit tokenize`."""
    parser = commands.add_parser(
        "tokenize",
        help="a data set to Parquet files of tokens",
        description="Encode a data set into a folder of Parquet parts (id, tokens, length, satisfied, bits). The same "
        "command again goes on where it was stopped. Unreadable pictures are left out, listed in _rejected.csv, and "
        "end the command with status 2 when all others are done.",
    )
    parser.add_argument(
        "source",
        type=not_empty,
        help="a folder of pictures, of WebDataset shards (.tar), of Parquet files with a column image, or of what the "
        "datasets library saved; a Parquet file; or a data set's id on the hub of Hugging Face",
    )
    parser.add_argument("--split", help="split of the data set, where it has several")
    parser.add_argument("output", type=path, help="the folder to write to")
    add_model(parser)
    add_lengths(parser, mean="--budget")
    add_batch_size(parser, "pictures", default=64)
    add_device(parser)
    parser.add_argument(
        "--devices",
        type=positive_integer,
        default=1,
        help="processes: on as many GPUs, or sharing this machine's cores (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or actors of the Ray cluster at RAY_ADDRESS (default: %(default)s)",
    )
    parser.add_argument(
        "--readers", type=positive_integer, default=4, help="threads a process that decode (default: %(default)s)"
    )
    parser.add_argument(
        "--images-per-part", type=positive_integer, default=1000, help="pictures in a file (default: %(default)s)"
    )
    parser.add_argument(
        "--rejected-share",
        type=share,
        default=0.01,
        help="most unreadable pictures, of all, before the command gives up (default: %(default)s)",
    )
    add_progress(parser)


def add_decode(commands: Subparsers) -> None:
    """Add `alit decode`."""
    parser = commands.add_parser(
        "decode",
        help="a token file to PNG pictures",
        description="Write each image of a token file as PNG, under its number and its picture's name.",
    )
    add_tokens(parser)
    parser.add_argument("-o", "--output", type=path, required=True, help="the folder to write to")
    add_force(parser)
    add_model(parser)
    add_batch_size(parser, "pictures", default=16)
    add_device(parser)
    add_progress(parser)


def add_view(commands: Subparsers) -> None:
    """Add `alit view`."""
    parser = commands.add_parser(
        "view",
        help="a token file to one contact sheet",
        description="Write one PNG of a token file's images, each rebuilt from its tokens. Where --originals names "
        "them, each stands beside its original, with the L1 error between the two. A token file holds the names of "
        "pictures, not the pictures: an original that is not found by its name is marked on the sheet, named, and "
        "ends the command with status 2.",
    )
    add_tokens(parser)
    parser.add_argument(
        "-o", "--output", type=path, default=Path("sheet.png"), help="the sheet to write (default: %(default)s)"
    )
    parser.add_argument(
        "--originals",
        nargs="+",
        type=not_empty,
        metavar="PATH",
        help="the pictures that were encoded: files, folders, globs, or - for paths on standard input",
    )
    add_most(parser, "images, evenly over the file", default=48)
    add_force(parser)
    add_model(parser)
    add_batch_size(parser, "images", default=16)
    add_device(parser)
    add_progress(parser)


def add_explore(commands: Subparsers) -> None:
    """Add `alit explore`."""
    parser = commands.add_parser(
        "explore",
        help="a page on which criteria can be tried on pictures",
        description="Measure a folder's pictures at every length and write an explorer of them: one HTML file that "
        "needs no network. It is opened in the browser. Unreadable pictures are named, left out, and "
        "end the command with status 2.",
    )
    parser.add_argument("images", type=path, help="a folder of pictures, searched to any depth")
    parser.add_argument(
        "-o", "--output", type=path, default=Path("explorer.html"), help="the page to write (default: %(default)s)"
    )
    parser.add_argument("--no-open", action="store_true", help="do not open the page in the browser")
    add_most(parser, "pictures, evenly over the folder", default=100)
    add_force(parser)
    add_model(parser)
    add_batch_size(parser, "pictures", default=16)
    add_device(parser)
    add_progress(parser)


def add_info(commands: Subparsers) -> None:
    """Add `alit info`."""
    parser = commands.add_parser(
        "info",
        help="what a token file or a checkpoint folder holds",
        description="Print what a token file or a checkpoint folder holds: lengths in tokens, sizes in bits, bytes and "
        "parameters.",
    )
    parser.add_argument(
        "path",
        type=path,
        help="a token file, - for one on standard input, a folder of alit tokenize, or a checkpoint folder",
    )
    add_json(parser, "a line")


def add_convert(commands: Subparsers) -> None:
    """Add `alit convert`."""
    parser = commands.add_parser(
        "convert",
        help="one of the authors' checkpoints to safetensors and config.json",
        description="Write a published checkpoint as model.safetensors, config.json and a model card; every tensor is "
        "checked.",
    )
    parser.add_argument("checkpoint", type=path, help="a .pth or .safetensors file with the authors' tensor names")
    parser.add_argument("output", type=path, help="the folder to write to")
    add_force(parser)
    parser.add_argument("--heads", type=positive_integer, help="attention heads, where the size is not a published one")


def add_bench(commands: Subparsers) -> None:
    """Add `alit bench`."""
    parser = commands.add_parser(
        "bench",
        help="what encoding and decoding cost on this machine",
        description="Measure each length: milliseconds, bits and GFLOP (two per multiply-add) of an image, images "
        "encoded a second. The peak is the memory in MiB of the tensors that are alive at once for the whole batch, "
        "beside the weights.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("model", nargs="?", type=not_empty, help="folder or hub id of a checkpoint")
    which.add_argument("--size", choices=SIZES, help="a published size of 256 px, with random weights, instead")
    add_batch_size(parser, "images", default=1)
    parser.add_argument(
        "--rounds", type=positive_integer, default=3, help="timed runs; their median counts (default: %(default)s)"
    )
    add_json(parser, "a table")
    add_device(parser)


def add_completion(commands: Subparsers) -> None:
    """Add `alit completion`."""
    parser = commands.add_parser(
        "completion",
        help="a script that completes arguments in a shell",
        description="Print the script by which a shell completes commands, options and files; docs/command-line.md "
        "says where it goes.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def add_tokens(parser: argparse.ArgumentParser) -> None:
    """Add the argument of a token file."""
    parser.add_argument(
        "tokens", type=path, help="the token file to read, - for standard input, or a folder of alit tokenize"
    )


def add_most(parser: argparse.ArgumentParser, what: str, *, default: int) -> None:
    """Add the option --most."""
    parser.add_argument("--most", type=positive_integer, default=default, help=f"most {what} (default: %(default)s)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option --model."""
    parser.add_argument(
        "-m", "--model", required=True, type=not_empty, help="folder or hub id of the tokenizer's checkpoint"
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add the option --force."""
    parser.add_argument("--force", action="store_true", help="write over inputs and over files of another kind too")


def add_json(parser: argparse.ArgumentParser, instead: str) -> None:
    """Add the option --json."""
    parser.add_argument("--json", action="store_true", help=f"print JSON instead of {instead}")


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add the options --progress and --no-progress."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show the rate and the time left on standard error (default: where that is a terminal)",
    )


def add_batch_size(parser: argparse.ArgumentParser, what: str, *, default: int) -> None:
    """Add the option --batch-size."""
    parser.add_argument(
        "--batch-size", type=positive_integer, default=default, help=f"{what} at once (default: %(default)s)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option --device."""
    parser.add_argument(
        "--device", type=not_empty, default="cpu", help="torch device, such as cuda or mps (default: %(default)s)"
    )


def not_empty(text: str) -> str:
    """Refuse an empty argument, for argparse: as a path it would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a value, found an empty one; is a variable of the shell unset?")
    return text


def path(text: str) -> Path:
    """Parse a path, for argparse."""
    return Path(not_empty(text))


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


def share(text: str) -> float:
    """Parse a share from 0 to 1, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text}")
    return number


def console() -> None:
    """Entry point of the `alit` command."""
    # OpenMP reads this when torch is imported. Threads that spin while they wait take cores from those that they wait
    # for where cores are shared: encoding took 14 times as long (docs/lab-log.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    unfinished = {"interrupted": "files that were being written are as they were before"}
    run_command(_settled, **({} if sys.argv[1:2] == ["tokenize"] else unfinished))


def _settled(argv: Sequence[str] | None) -> None:
    settle_environment()
    main(argv)


if __name__ == "__main__":
    console()
