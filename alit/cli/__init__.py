"""The `alit` command: encode pictures to token files, decode them, look into them, convert and measure checkpoints.

Exit status: 0 when all is done, 2 after one line that says what was wrong, 130 when interrupted.
"""

import argparse
from collections.abc import Sequence

from alit.cli import bench, convert, decode, encode, info
from alit.errors import run_command


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
    for command in (encode, decode, info, convert, bench):
        command.add_to(commands)
    return parser


def console() -> None:
    """Entry point of the `alit` command."""
    run_command(main)
