"""The one error type that a user is meant to read, and the wrapper that prints it as one line."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NoReturn, TextIO

# Modules of packages that the library does without, and the extra of pyproject.toml that installs them.
EXTRAS = {
    "constriction": "entropy",
    "datasets": "huggingface",
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
    "vl_convert": "notebooks",
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


class NotMeasurable(Exception):
    """A study cannot measure something on these inputs; the message says why, in a phrase that follows a colon.

    No fault of the user's: the pipeline goes on, and the study's page and claims say so.
    """


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


def require_extras(*extras: str) -> None:
    """Check that all optional packages of some extras of pyproject.toml are installed, without importing them.

    Raises:
        MissingPackageError: as `require`.
    """
    require(*(module for module, extra in EXTRAS.items() if extra in extras))


def run_command(
    main: Callable[[Sequence[str] | None], None],
    argv: Sequence[str] | None = None,
    *,
    interrupted: str = "run the same command again to continue",
) -> NoReturn:
    """Run a script's `main` and exit: 0 when it returns, 2 with one line on stderr after an `AlitError`.

    An optional package that is missing counts as an `AlitError`, and so does a standard output that takes no more;
    where nobody reads that, or standard error, any longer the exit is 141, as if SIGPIPE had ended it. A file that the
    system refuses (a name too long, links in a circle, no permission, a full disk) is one line as well, wherever it is
    met. Ctrl-C exits with 130 and one line, which says what is `interrupted`, unless the exception itself does. Every
    other exception is a bug and keeps its stack trace.
    """
    _open_standard_files()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # all is imported: see experiments/__init__.py
    printed, told = _Printed(sys.stdout), _Printed(sys.stderr)
    sys.stdout, sys.stderr = printed, told  # type: ignore[assignment]
    try:
        main(argv)
        printed.flush()
    except AlitError as error:
        _exit(error)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        _exit(MissingPackageError(module))
    except KeyboardInterrupt as error:
        _tell(f"interrupted: {str(error) or interrupted}")
        sys.exit(130)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # of standard output or error, or of a file such as /dev/stdout
            _drop_output()
            sys.exit(141)
        if error is printed.fault or error is told.fault:
            _drop_output()
            _exit(DataError(f"cannot write to standard output: {error.strerror}"))
        if error.errno is None or error.filename is None:
            raise
        _exit(DataError(f"cannot use {os.fsdecode(error.filename)}: {error.strerror}; give another, or mend it"))
    finally:
        sys.stdout, sys.stderr = printed.stream, told.stream
    sys.exit(0)


class _Printed:
    """Standard output or error that remembers why it could not be written to."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        with self._watched():
            return self.stream.write(text)

    def flush(self) -> None:
        with self._watched():
            self.stream.flush()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _open_standard_files() -> None:
    """Open what the shell has closed, so that no other file takes the number of a standard one; escape odd names."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Forget what is still to be printed: Python would try again while it ends, and fail with a trace."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _exit(error: AlitError) -> NoReturn:
    line = " ".join(str(error).split())
    _tell(f"error: {os.fsencode(line).decode(errors='backslashreplace')}")  # names may have any bytes
    sys.exit(2)


def _tell(line: str) -> None:
    """Print the last line, wherever standard error leads to; the exit status says the same."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
    _drop_output()
