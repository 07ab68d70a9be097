"""Downloads from the Hugging Face hub that fail in seconds, in one line, where it cannot be reached."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, hf_hub_download

from alit.errors import CheckpointError

SECONDS = 3.0  # that the hub has to answer


def fetch_file(repository: str, name: str, *, expected: str, instead: str, **options: Any) -> Path:
    """Return a file of a hub repository, from its cache or after a download.

    Args:
        repository: its id, owner/name.
        name: of the file.
        expected: what was expected and that it was not found, for the message.
        instead: what to do where there is no network, for the message.
        options: those of `hf_hub_download`.

    Raises:
        CheckpointError: there is no such file, or the hub cannot be reached and the file is not in the cache.
    """
    with offline_where_unreachable(asked=not options.get("local_files_only")) as fault:
        try:
            return Path(hf_hub_download(repository, name, **options))
        except Exception as error:  # those of the hub's client and of whatever speaks HTTP for it
            reason = f"{constants.ENDPOINT} cannot be reached: {fault}" if fault else first_line(error)
            raise CheckpointError(f"{expected}: {reason}; {instead}") from error


@contextmanager
def offline_where_unreachable(*, asked: bool = True) -> Iterator[str]:
    """Let the hub's client read its cache alone where the hub does not answer; yield why, empty where it does.

    The client would try each file again for half a minute. Where it is not to be `asked`, neither is the hub.
    """
    fault = fault_of_hub(constants.ENDPOINT) if asked and not constants.HF_HUB_OFFLINE else ""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or bool(fault)
    try:
        yield fault
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def fault_of_hub(endpoint: str) -> str:
    """Return why the hub cannot be reached, empty where anything answers; asked once."""
    found = [f"no answer in {SECONDS:g} seconds"]

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=SECONDS)
            found.append("")
        except Exception as error:  # also a proxy's package that is missing
            found.append(first_line(error))

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
    thread.start()
    thread.join(SECONDS + 0.5)
    return found[-1]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
