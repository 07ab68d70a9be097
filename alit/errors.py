"""The one error type that a user is meant to read, and the wrapper that prints it as one line."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NoReturn

# Modules of packages that the library does without, and the extra of pyproject.toml that installs them.
EXTRAS = {
    "diffusers": "diffusers",
    "dvc": "pipeline",
    "lightning_fabric": "pipeline",
    "pandas": "pipeline",
    "pandera": "pipeline",
    "psutil": "pipeline",
    "pyarrow": "pipeline",
    "ray": "ray",
    "scipy": "pipeline",
    "sklearn": "pipeline",
    "timm": "tasks",
    "torch_fidelity": "tasks",
    "torchmetrics": "tasks",
    "torchvision": "tasks",
    "transformers": "tasks",
    "ipykernel": "notebooks",
    "matplotlib": "notebooks",
    "nbconvert": "notebooks",
    "nbformat": "notebooks",
    "papermill": "notebooks",
    "seaborn": "notebooks",
    "traitlets": "notebooks",
}


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


class MissingPackageError(AlitError):
    """A package of an extra that is not installed."""

    def __init__(self, module: str) -> None:
        super().__init__(f"expected {module}, found none; install it with: pip install 'alit-suite[{EXTRAS[module]}]'")


def require(*modules: str) -> None:
    """Check that optional packages are installed, without importing them; each is a key of `EXTRAS`.

    Raises:
        MissingPackageError: the first that is not; the message names the extra to install.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingPackageError(module)


def run_command(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a script's `main` and exit: 0 when it returns, 2 with one line on stderr after an `AlitError`.

    An optional package that is missing counts as an `AlitError`. Ctrl-C exits with 130 and one line; every other
    exception is a bug and keeps its stack trace.
    """
    try:
        main(argv)
    except AlitError as error:
        _exit(error)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        _exit(MissingPackageError(module))
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _exit(error: AlitError) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
