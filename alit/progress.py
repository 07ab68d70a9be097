"""The bar that long commands show on standard error."""

import sys
import time

from tqdm import tqdm

PAUSE = 10.0  # seconds between two states of a bar in a file or a pipe: each of them stays there


class ProgressBar(tqdm):
    """Images that are done, with the rate and the time left; shown on a terminal, and elsewhere where asked."""

    def __init__(self, total: int, *, shown: bool | None = None, unit: str = "image") -> None:
        """Start a bar.

        Args:
            total: how many there are.
            shown: whether it is shown; None shows it on a terminal only.
            unit: the name of one.
        """
        pause = 0.1 if sys.stderr is not None and sys.stderr.isatty() else PAUSE
        super().__init__(total=total, unit=unit, disable=None if shown is None else not shown, mininterval=pause)

    def skip(self, count: int) -> None:
        """Move on by what takes no work now, such as what an earlier command has done: it counts for no rate."""
        if self.disable:
            return
        self.initial += count
        self.n += count
        self.last_print_n += count
        if (now := time.time()) - self.last_print_t >= self.mininterval:
            self.last_print_t = now
            self.refresh()
