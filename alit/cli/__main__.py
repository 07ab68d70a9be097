"""`python -m alit.cli`, where the `alit` command is not on the PATH."""

from alit.cli import console

console()
