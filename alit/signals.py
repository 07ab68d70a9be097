"""What Ctrl-C does in a part of the program."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts(handler: Any) -> Iterator[None]:
    """Let `handler` of `signal.signal` answer Ctrl-C: `SIG_DFL` ends the process at once, `SIG_IGN` does nothing.

    A process inherits from the one that starts it which signals it ignores. Handlers belong to the main thread; in
    another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
