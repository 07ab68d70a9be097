"""Two processes sweep the same images as one, one thread each: the same files, and how long each takes.

    python benchmarks/sweep_processes.py [--images 192] [--rounds 3] -o benchmarks/results/sweep_processes.json

Sweeps embedded scenes with an untrained tokenizer and untrained task networks of the cpu profile, by turns with one
process and with two. Times are those of the sweep alone: without imports, without loading networks. Two processes need
two cores of their own: `cpu` compares the CPU seconds of the busier of two processes, which is the time that they would
take there. The benchmark fails where the files differ, or where these are more than 0.6 of those of one process in the
median of the rounds.
"""

from common import Seconds, machine, ratio, read_profile, write_result  # isort: skip - before torch

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sweep_memory import prepare

from alit.data.imageset import open_set
from alit.errors import run_command
from alit.sweep.engine import sweep
from alit.tasks.registry import build_task_models
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric, default_randomness
from alit.training.engine.processes import check_all, fail_together

BAR = 0.6


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--chunk", type=int, default=16, help="images a process takes at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--sweep", nargs=2, metavar=("FOLDER", "PROCESSES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.sweep:
        return _sweep(Path(arguments.sweep[0]), int(arguments.sweep[1]), arguments.chunk)
    taken: dict[int, list[list[float]]] = {1: [], 2: []}  # wall and CPU seconds of each round
    digests = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(read_profile("cpu"), folder, arguments.images)
        for _ in range(arguments.rounds):
            for processes, seconds in taken.items():
                options = ["--chunk", str(arguments.chunk), "--sweep", name, str(processes)]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                command = [sys.executable, __file__, *options]
                output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
                seconds.append(np.max([json.loads(line) for line in output.splitlines()], axis=0).tolist())
                files = sorted((folder / "sweep").iterdir())
                digests.add(hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest())
    one, two = (Seconds(*np.array(taken[processes]).T) for processes in (1, 2))
    ratios = ratio(two, one)
    write_result(
        {
            "seconds_of_one": {kind: values.round(1).tolist() for kind, values in one._asdict().items()},
            "seconds_of_two": {kind: values.round(1).tolist() for kind, values in two._asdict().items()},
            "two_over_one": ratios,
            "same_files": len(digests) == 1,
            "images": arguments.images,
            "bar": BAR,
            "machine": {**machine(), "threads": 1},
        },
        arguments.output,
    )
    if len(digests) > 1 or ratios["cpu"]["median"] > BAR:
        sys.exit("error: two processes are too slow, or write other files than one")


def _sweep(folder: Path, processes: int, chunk: int) -> None:
    """Sweep the set in `folder` in so many processes; each prints its wall and CPU seconds."""
    profile, fabric = read_profile("cpu"), build_fabric("cpu", processes)
    torch.set_num_threads(1)
    assert profile.tokenizer is not None
    with fail_together(fabric), default_randomness("benchmark"):
        tokenizer = AdaptiveTokenizer(profile.tokenizer).eval()
        models = build_task_models(profile.task_models, folder / "task_models", fabric.device)
        check_all(fabric)
        start = time.perf_counter(), time.process_time()
        sweep(
            tokenizer,
            [open_set(folder / "data" / "val")],
            models.tasks,
            models.extractors,
            config=profile.sweep.model_copy(update={"chunk_size": chunk, "tokenizer_batch": chunk}),
            scratch=folder / "scratch",
            out=folder / "sweep",
            fabric=fabric,
        )
        print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]), flush=True)


if __name__ == "__main__":
    run_command(main)
