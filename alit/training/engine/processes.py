"""All processes of a run as one: pieces of work that they share, and a fault of one that ends all with one line."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from alit.errors import AlitError, DataError

if TYPE_CHECKING:  # it loads torchmetrics, and with it transformers and torchvision
    from lightning_fabric import Fabric

FINE, FAULT, BUG = range(3)  # how a process comes to `check_all`


class ProcessError(AlitError):
    """The fault of one of several processes, which ends them all."""


def share_pieces(fabric: "Fabric", pending: Sequence[int], work: Callable[[int], object]) -> Iterator[int]:
    """Do numbered pieces of work in all processes, and yield each number once its piece is done.

    In each round every process takes one piece, so that a fault is known to all after one piece. A piece must not
    depend on the process that does it: what it draws is seeded by its number, and its result is a file that all see.

    Args:
        fabric: launched.
        pending: the pieces, each a number; those that the first process lists count.
        work: does one piece.

    Raises:
        ProcessError: a process failed.
    """
    check_all(fabric)  # no process begins while another still looks for what is pending
    pieces: Sequence[int] = fabric.broadcast(list(pending))
    for start in range(0, len(pieces), fabric.world_size):
        turn = pieces[start : start + fabric.world_size]
        with fail_together(fabric):
            if fabric.global_rank < len(turn):
                work(turn[fabric.global_rank])
        yield from turn


class PieceStore:
    """Results of numbered pieces of work, arrays by name: one file for each, which appears when it is whole."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def fill(
        self,
        fabric: "Fabric",
        sizes: Sequence[int],
        work: Callable[[int], Mapping[str, np.ndarray]],
        description: str,
        unit: str = "image",
    ) -> None:
        """Do the pieces that are not there yet in all processes, as `share_pieces` does; `sizes` are in units."""
        finished = {int(path.stem) for path in self._folder.glob("*.npz")}
        pending = [piece for piece in range(len(sizes)) if piece not in finished]
        done = sum(size for piece, size in enumerate(sizes) if piece in finished)
        silent = not fabric.is_global_zero
        with tqdm(total=sum(sizes), initial=done, desc=description, unit=unit, disable=silent) as bar:
            for piece in share_pieces(fabric, pending, lambda piece: self._write(piece, work(piece))):
                bar.update(sizes[piece])

    def read(self, piece: int) -> dict[str, np.ndarray]:
        """Return the arrays of a piece.

        Raises:
            DataError: it is not there.
        """
        path = self._path(piece)
        if not path.is_file():
            raise DataError(f"expected {path}, found none; all nodes must see one folder of resume state")
        with np.load(path) as arrays:
            return dict(arrays)

    def _write(self, piece: int, arrays: Mapping[str, np.ndarray]) -> None:
        partial = self._path(piece).with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        partial.replace(self._path(piece))

    def _path(self, piece: int) -> Path:
        return self._folder / f"{piece:06d}.npz"


@contextmanager
def fail_together(fabric: "Fabric") -> Iterator[None]:
    """Run a block in all processes, and wait for all at its end; an exception in one ends all, see `check_all`."""
    if fabric.world_size == 1:
        yield
        return
    try:
        yield
    except ProcessError:  # all know of it already
        raise
    except Exception as error:
        check_all(fabric, error)
    else:
        check_all(fabric)


def check_all(fabric: "Fabric", error: Exception | None = None) -> None:
    """Wait until every process has called this; where some bring an error, end all with that of the first of them.

    The first process raises its message, the others exit in silence: a user reads one line. The trace of what is no
    `AlitError` is printed by the process that has it.

    Raises:
        ProcessError: a process brought an `AlitError`, or was killed.
        SystemExit: the same, in every process but the first; or a process brought another exception.
    """
    if fabric.world_size == 1:
        if error is not None:
            raise error
        return
    state = FINE if error is None else FAULT if isinstance(error, AlitError) else BUG
    if error is not None and state == BUG:
        traceback.print_exception(error)
    try:
        own = torch.zeros(fabric.world_size, dtype=torch.int64, device=fabric.device)
        own[fabric.global_rank] = state
        summed = fabric.all_reduce(own, reduce_op="sum")
        assert isinstance(summed, Tensor)
        states = summed.tolist()
        failed = next((rank for rank, each in enumerate(states) if each != FINE), None)
        message = None if failed is None else fabric.broadcast(str(error), src=failed)
    except RuntimeError as lost:  # its connection is closed
        if fabric.is_global_zero and state != BUG:
            raise ProcessError(
                "expected all processes to reach the end, but one was killed (for memory?); "
                "the same command continues from what is finished"
            ) from lost
        raise SystemExit(2) from lost
    if failed is None:
        return
    if states[failed] == BUG:
        raise SystemExit(1)
    if fabric.is_global_zero:
        raise ProcessError(str(message)) from error
    raise SystemExit(2)
