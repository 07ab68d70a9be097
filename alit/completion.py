"""`alit completion SHELL`: the script by which a shell completes the command's arguments.

The script is written once, from the parser (shtab): no key starts Python.
"""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

FILES = ("images", "model", "originals", "source")  # arguments that are text, since they may be more than a path


class Command(NamedTuple):
    """One command of a parser."""

    name: str
    help: str
    parser: argparse.ArgumentParser


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script of a shell, one of `SHELLS` of `alit.cli`."""
    import shtab

    for command in commands_of(parser):
        command.parser.description = command.help  # the short one, for a menu
        for action in command.parser._actions:
            if action.dest in FILES or getattr(action.type, "__name__", "") == "path":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def commands_of(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """Yield the commands of a parser, in order."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield Command(choice.dest, choice.help or "", action.choices[choice.dest])
