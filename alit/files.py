"""Files that a user names: names of any bytes as text, and outputs that are written whole or not at all."""

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from alit.errors import AlitError, ConfigError, DataError

_LINE_END = re.compile(r"\r\n?")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def name_to_text(name: str) -> str:
    r"""Return a file's name as text of one line that can be written anywhere.

    A byte that is not UTF-8, or is a control character, becomes `\xe9`, and a backslash that could be taken for the
    start of that `\x5c`. All other names stay as they are.
    """
    escaped = _ESCAPED.sub(r"\\x5cx\1", name)
    return re.sub("[\x00-\x1f\x7f\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", escaped)


def text_to_name(text: str) -> str:
    """Undo `name_to_text`."""
    return _ESCAPED.sub(lambda found: os.fsdecode(bytes([int(found[1], 16)])), text)


def is_utf8(path: Path) -> bool:
    """Whether the bytes of a path are UTF-8, which some libraries demand."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_text(text: str) -> str:
    """Return text that CSV and JSON in UTF-8 keep as it is: ends of lines are line feeds, what is no character escaped.

    Captions and names of classes come from JSON and arrays, which can hold half of a surrogate pair.
    """
    return _LINE_END.sub("\n", text).encode(errors="backslashreplace").decode()


def named_file(root: Path, text: str) -> Path:
    """Return the file below `root` whose path `name_to_text` wrote."""
    return root / text_to_name(text)


def read_text(path: Path, fault: type[AlitError] = DataError) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark; ends of lines stay as they are.

    Raises:
        AlitError: a `fault`: it is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise fault(f"{path}: expected UTF-8, found the byte {byte:#04x}; save it as UTF-8") from error


def read_json(path: Path, fault: type[AlitError] = DataError) -> dict[str, Any]:
    """Return what a JSON file of keys and values holds, in which no key stands twice and nothing is NaN or Infinity.

    Raises:
        AlitError: a `fault`: it cannot be read, is no JSON, or holds something else.
    """
    try:
        content = json.loads(read_text(path, fault), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise fault(f"{path} cannot be read as JSON: {reason}; mend it, or have it written again") from error
    if not isinstance(content, dict):
        raise fault(f"{path}: expected keys with values, found {type(content).__name__}")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} stands twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def file_sha256(path: Path) -> str:
    """Return the digest of a file, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket: something that is written to and never replaced."""
    try:
        return not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode)) or is_open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_open_file(path: Path) -> bool:
    """Whether a path names an open file of this process, such as /dev/stdout, whatever it leads to."""
    return str(path).startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/"))


def is_standard_output(path: Path) -> bool:
    """Whether what is written to a path comes out where printed lines do."""
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it, so that a full disk or a kill leaves what was there; follows links.

    What is special (`is_special`) is written to as it is.

    Raises:
        OSError: it cannot be written; its `filename` is the path.
    """
    try:
        if is_special(path):
            with path.open("wb", buffering=0) as file:
                _write_all(file.fileno(), content)
        else:
            _write_aside(path.resolve(), content)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _write_aside(path: Path, content: bytes) -> None:
    number, partial = tempfile.mkstemp(prefix=f".{path.name[:50]}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _write_all(number: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(number, rest) :]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_free(
    path: Path,
    inputs: Iterable[Path],
    is_own: Callable[[bytes], bool],
    *,
    kind: str,
    cure: str = "choose another output, or --force",
) -> None:
    """Check that writing a file would destroy neither an input nor a file of another kind.

    Args:
        path: the file that is to be written.
        inputs: files that the command reads.
        is_own: takes the first MiB of a file; whether it is of the kind that is written.
        kind: that kind, for the message.
        cure: what to do, for the message; a command without `--force` says other than the default.

    Raises:
        ConfigError: it would.
        DataError: what is there cannot be read.
    """
    if is_special(path) or not path.exists() or path.is_dir():
        return
    for each in inputs:
        if os.path.exists(each) and path.samefile(each):  # the method raises where the system refuses to look
            raise ConfigError(f"expected an output that is none of the inputs, found {path}; {cure}")
    try:
        with path.open("rb") as file:
            head = file.read(2**20)
    except OSError as error:
        raise DataError(f"cannot read what is at {path}: {error.strerror}; choose another output") from error
    if head and not is_own(head):
        raise ConfigError(f"expected {kind} or nothing at {path}, found another file; {cure}")


def require_own(path: Path, mark: bytes, *, kind: str = "such a file") -> None:
    """Check that a command without `--force` destroys no file but one of its own: with `mark` in its first MiB.

    Raises:
        ConfigError: what is there is of another kind.
        DataError: what is there cannot be read.
    """
    require_free(path, [], lambda head: mark in head, kind=kind, cure="choose another output")
