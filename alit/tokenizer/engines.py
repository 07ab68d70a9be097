"""Who encodes the parts of a data set: this process, several on this machine, or actors of a Ray cluster.

Each engine is an `alit.tokenizer.dataset.Engine`: it writes the parts that it is given, in any order, and yields for
each which of its images could not be read.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait as wait_for_end
from typing import Any

import torch

from alit.errors import AlitError, ConfigError, require
from alit.signals import interrupts
from alit.tokenizer.dataset import Advance, Engine, PartEncoder, Rejected, TokenizeJob
from alit.tokenizer.tokenizer import AdaptiveTokenizer

POLL_SECONDS = 0.5


def here(tokenizer: AdaptiveTokenizer) -> Engine:
    """Encode in this process, with a tokenizer that is on its device."""

    def encode(job: TokenizeJob, parts: Sequence[int], advance: Advance) -> Iterator[list[Rejected]]:
        encoder = PartEncoder(job, tokenizer)
        for part in parts:
            yield encoder(part, advance)

    return encode


def processes(device: str, count: int) -> Engine:
    """Encode in `count` processes of this machine: on as many GPUs, or sharing its cores.

    Raises:
        ConfigError: there are not so many GPUs.
    """
    kind, _, number = device.partition(":")
    if number:
        raise ConfigError(f"expected a kind of device for {count} processes, such as {kind}, found {device}")
    found = torch.cuda.device_count() if kind == "cuda" else count
    if found < count:
        raise ConfigError(f"expected {count} GPUs (--devices), found {found} on this machine")
    devices = [f"{kind}:{index}" if kind == "cuda" else kind for index in range(count)]
    return partial(_in_processes, devices)


def _in_processes(
    devices: list[str], job: TokenizeJob, parts: Sequence[int], advance: Advance
) -> Iterator[list[Rejected]]:
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    counter, queue = context.Value("q", 0), context.SimpleQueue()
    for device in devices:
        queue.put(device)
    others = set(multiprocessing.active_children())
    threads = max(1, torch.get_num_threads() // len(devices))
    pool = ProcessPoolExecutor(len(devices), context, _start_worker, (job, queue, counter, threads))
    seen = 0
    try:
        with interrupts(signal.SIG_IGN):  # a terminal sends Ctrl-C to all, and the processes would show a trace
            waiting = {pool.submit(_encode_part, part) for part in parts}
        while waiting:
            done, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
            read = counter.value  # type: ignore[attr-defined]
            advance(read - seen)
            seen = read
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise AlitError(
            "a process that encodes has ended unexpectedly, perhaps for lack of memory: lower --batch-size or "
            "--devices, and run the same command again to continue"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # at once, after an error or Ctrl-C: a part may take minutes


_worker: tuple[PartEncoder, Any] | None = None  # of a process that encodes: its encoder, and the counter of images


def _start_worker(job: TokenizeJob, devices: Any, counter: Any, threads: int) -> None:
    global _worker
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    torch.set_num_threads(threads)
    _worker = PartEncoder.load(job, devices.get()), counter


def _end_with(sentinel: int) -> None:
    """End this process when its parent has ended, however that came about: it would keep its GPU for ever."""
    wait_for_end([sentinel])
    os._exit(1)


def _encode_part(part: int) -> list[Rejected]:
    assert _worker is not None
    encoder, counter = _worker

    def advance(images: int) -> None:
        with counter.get_lock():
            counter.value += images

    return encoder(part, advance)


def ray_actors(device: str, count: int) -> Engine:
    """Encode in `count` actors of the Ray cluster that `RAY_ADDRESS` names, or of one on this machine.

    The source, the folder of the parts and the checkpoint must have the same paths on every node.

    Raises:
        MissingPackageError: ray is not installed.
    """
    require("ray")
    return partial(_in_ray, device, count)


def _in_ray(
    device: str, count: int, job: TokenizeJob, parts: Sequence[int], advance: Advance
) -> Iterator[list[Rejected]]:
    import ray
    import ray.data
    import ray.exceptions

    joined = ray.is_initialized()
    if not joined:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        rows = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
        done = rows.map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(job, device),
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
            num_gpus=1 if device.startswith("cuda") else 0,
        )
        for row in done.iter_rows():
            advance(len(job.images_of(row["part"])))
            yield [(str(name), str(reason)) for name, reason in zip(row["ids"], row["reasons"], strict=True)]
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    finally:
        if not joined:
            ray.shutdown()


class _Actor:
    """Holds an encoder in a process of the cluster."""

    def __init__(self, job: TokenizeJob, device: str) -> None:
        self._encoder = PartEncoder.load(job, device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Write the one part of a batch; return what could not be read."""
        (part,) = batch["part"].tolist()
        rejected = self._encoder(part, lambda images: None)
        return {
            "part": [part],
            "ids": [[name for name, _ in rejected]],
            "reasons": [[reason for _, reason in rejected]],
        }


def _cause(error: BaseException) -> AlitError:
    """Return the fault that an actor met, or one line about the cluster's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AlitError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = str(error).strip().splitlines()
    return AlitError(f"Ray: {lines[-1] if lines else type(error).__name__}; run the same command again to continue")
