"""The one error type that a user is meant to read, and the wrapper that prints it as one line."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


class AlitError(Exception):
    """A fault in what the user gave: says what was expected, what was found and what to do, in one line."""


class ConfigError(AlitError):
    """A setting that is unknown, missing or of the wrong kind."""


class DataError(AlitError):
    """A data set, image or table that is missing, empty or broken."""


class CheckpointError(AlitError):
    """A checkpoint that is missing, truncated or of another model."""


class TokenFileError(AlitError):
    """A token file that is missing, truncated, damaged, or of another tokenizer."""


class TrainingError(AlitError):
    """A training run that cannot go on, such as one whose loss is no longer finite."""


def run_command(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a script's `main` and exit: 0 when it returns, 2 with one line on stderr after an `AlitError`.

    Ctrl-C exits with 130 and one line; every other exception is a bug and keeps its stack trace.
    """
    try:
        main(argv)
    except AlitError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
