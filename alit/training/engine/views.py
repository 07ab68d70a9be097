"""The pixels of a training's batches: decoded in this process, or ahead of time in worker processes.

Workers are torch's (`torch.utils.data.DataLoader`). Each decodes whole batches, which arrive in the order of their
steps: how many workers there are changes the speed and nothing else.
"""

import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from alit.data.crops import RandomCrop
from alit.data.imageset import ImageSet
from alit.errors import DataError

_PREFETCH = 2  # batches that each worker has ready or at work
_LOST = (RuntimeError, EOFError, ConnectionError)  # what a dead worker raises where its batch is waited for


class ViewRequest(NamedTuple):
    """Which image a place in a batch shows, and how."""

    row: int  # of the set
    crop: RandomCrop | None  # None: the center square


class Views(NamedTuple):
    """The images of a batch as they were decoded."""

    rows: Tensor  # (b,) int64, of the images that are shown
    pixels: Tensor  # (b, h, w, 3) uint8
    unreadable: tuple[tuple[int, str], ...]  # rows that could not be read, and why


class ViewDataset(Dataset[Views]):
    """One view per request. An image that cannot be read is replaced by the next of the set that can."""

    def __init__(self, images: ImageSet, allowed: int) -> None:
        self.images = images
        self.allowed = allowed  # unreadable images

    def __getitem__(self, request: ViewRequest) -> Views:
        """Return a batch of one; after more than `allowed` unreadable images, one without an image."""
        unreadable: list[tuple[int, str]] = []
        while len(unreadable) <= self.allowed:
            row = (request.row + len(unreadable)) % len(self.images)
            try:
                pixels = torch.from_numpy(self.images.view(row, request.crop))
                return Views(torch.tensor([row]), pixels[None], tuple(unreadable))
            except DataError as error:
                unreadable.append((row, str(error)))
        return Views(torch.empty(0, dtype=torch.int64), torch.empty(0), tuple(unreadable))


class ViewLoader:
    """Loads the batch of any step; steps in a row are what the workers have ready.

    Images that cannot be read and workers that end are named and counted. After the end of a worker each batch that it
    may have been at is loaded in a worker of its own and, if that ends too, each image: one that ends its worker again
    counts as unreadable. Training goes on while no more than `rejected_share` of the set's images are unreadable, and
    no more than that share of the batches, or one, has cost a worker.

    Args:
        images: the set.
        requests: step -> what its batch shows; of this process, where there are several.
        workers: processes; 0 decodes in this one, as batches are needed.
        pin_memory: page-locked memory, for copies to a GPU that overlap with its work.
    """

    def __init__(
        self, images: ImageSet, requests: Callable[[int], Sequence[ViewRequest]], *, workers: int, pin_memory: bool
    ) -> None:
        self.images = images
        self.requests = requests
        self.workers = workers
        self.pin_memory = pin_memory
        self.dataset = ViewDataset(images, math.floor(images.rejected_share * len(images) + 1e-9))
        self.unreadable: dict[int, str] = {}  # row -> reason
        self.failures = 0  # workers that ended
        self.loaded = 0  # batches
        self._next = 0
        self._batches: Iterator[Views] | None = None
        self._alone_until = 0  # the step before which batches are loaded in a worker each

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return rows of the set (b,) and their views as uint8 (b, h, w, 3).

        Raises:
            DataError: more images could not be read, or more workers ended, than are allowed.
        """
        views = self._load(step)
        for row, reason in views.unreadable:
            self._count_unreadable(row, reason)
        self.loaded += 1
        return views.rows, views.pixels

    def _load(self, step: int) -> Views:
        if step < self._alone_until:
            return self._load_alone(self.requests(step))
        if self._batches is None or step != self._next:
            self._batches = None  # ends its workers before there are others
            self._batches = self._start(map(self.requests, count(step)), self.workers)
        try:
            views = next(self._batches)
        except _LOST as error:
            if not self.workers:  # decoded here
                raise
            _raise_if_alive(error)
            self._batches = None
            self._count_failure(step, error)
            self._alone_until = step + _PREFETCH * self.workers + 1
            return self._load_alone(self.requests(step))
        self._next = step + 1
        return views

    def _load_alone(self, requests: Sequence[ViewRequest]) -> Views:
        """Load one batch in a worker of its own or, if that ends, each image in one."""
        try:
            return next(self._start([requests], 1))
        except _LOST as error:
            _raise_if_alive(error)
            if len(requests) > 1:
                return _collate([self._load_alone([request]) for request in requests])
            row, crop = requests[0]
            origin = self.images.manifest["origin"].iloc[row]
            self._count_unreadable(row, f"{self.images.name}: {origin}: reading it ends the process")
            return self._load_alone([ViewRequest((row + 1) % len(self.images), crop)])

    def _start(self, batches: Iterable[Sequence[ViewRequest]], workers: int) -> Iterator[Views]:
        """Return the views of batches, in their order, from new workers."""
        loader = DataLoader(
            self.dataset,
            batch_sampler=batches,  # type: ignore[arg-type]
            num_workers=workers,
            prefetch_factor=_PREFETCH if workers else None,
            collate_fn=_collate,
            pin_memory=self.pin_memory,
            worker_init_fn=_ignore_interrupts,
            generator=torch.Generator(),  # else it draws from torch's default one, which belongs to the step
        )
        if not workers:
            return iter(loader)
        handler = signal.getsignal(signal.SIGCHLD)
        views = iter(loader)
        # torch raises in whatever line the main thread is at when a worker dies, such as an optimizer's. A dead worker
        # is found as well where its batch is waited for.
        if signal.getsignal(signal.SIGCHLD) is not handler:
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        return views

    def _count_unreadable(self, row: int, reason: str) -> None:
        if row in self.unreadable:
            return
        self.unreadable[row] = reason
        so_far = f"{len(self.unreadable)} of {len(self.images)} images"
        if len(self.unreadable) > self.dataset.allowed:
            share = self.images.rejected_share
            raise DataError(f"{reason} ({so_far} could not be read; rejected_share allows {share:.1%})")
        _tell(f"{reason}; another image takes its place; {so_far} so far")

    def _count_failure(self, step: int, error: Exception) -> None:
        self.failures += 1
        name, what = self.images.name, " ".join(str(error).split()) or "its connection was cut"
        if self.failures > 1 + self.images.rejected_share * self.loaded:
            raise DataError(
                f"{name}: expected workers of the loader that live, found {self.failures} that ended, the last at step "
                f"{step} ({what}); free memory, or set fewer workers"
            ) from error
        _tell(f"{name}: a worker of the loader ended at step {step} ({what}); its batch is loaded again")


def _raise_if_alive(error: Exception) -> None:
    """Raise an error that does not tell of a dead worker; torch has no class of its own for that.

    A worker that is killed while it hands over a batch cuts the connection, for a moment before it counts as dead. An
    error of that kind which the worker itself has met names the worker.
    """
    told = str(error)
    cut = isinstance(error, EOFError | ConnectionError) and "in DataLoader worker process" not in told
    ended = "DataLoader worker" in told and "exited unexpectedly" in told
    if not cut and not ended:
        raise error


def _collate(views: Sequence[Views]) -> Views:
    """Join batches of one; those without an image are left out."""
    rows = torch.cat([view.rows for view in views])
    pixels = torch.cat([view.pixels for view in views if len(view.rows)]) if len(rows) else torch.empty(0)
    return Views(rows, pixels, tuple(each for view in views for each in view.unreadable))


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the training, which saves its state before it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _tell(line: str) -> None:
    """Print a line above the progress bar."""
    tqdm.write(line, file=sys.stderr)
