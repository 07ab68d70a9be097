"""The entry point of the `alit` command: from here on Ctrl-C ends the process without a trace.

An exception would come out of the middle of an import, of which `alit.cli` needs many; `alit.errors.run_command` takes
Ctrl-C up again.
"""

import signal


def run() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from alit.cli import console

    console()


if __name__ == "__main__":
    run()
