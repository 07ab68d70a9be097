"""Allocator and thread settings on a CPU: `python benchmarks/cpu_settings.py [-o FILE]`.

These settings are read when a process starts, so each has processes of its own, which take turns. Their works: encoding
a batch to its last length, a training step of the base tokenizer, and one of stage 2, all with untrained networks of a
profile. Time is that of one repeat, as a ratio to what the pipeline sets, within a round.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from output import tell
from tqdm import tqdm

from alit.errors import run_command

KEEP = {"MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_MMAP_THRESHOLD_": "33554432"}
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
PIPELINE = "as in the pipeline: freed memory kept, threads wait asleep"
SETTINGS: dict[str, dict[str, str]] = {
    PIPELINE: KEEP | ASLEEP,
    "glibc's allocator as it is": ASLEEP,
    "one arena": KEEP | ASLEEP | {"MALLOC_ARENA_MAX": "1"},
    "huge pages of glibc": KEEP | ASLEEP | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "huge pages of torch": KEEP | ASLEEP | {"THP_MEM_ALLOC_ENABLE": "1"},
    "one thread": KEEP | ASLEEP | {"OMP_NUM_THREADS": "1"},
    "threads wait as OpenMP has it": KEEP,
    "threads wait spinning": KEEP | {"OMP_WAIT_POLICY": "ACTIVE"},
}
READ = ("MALLOC_", "OMP_", "GOMP_", "MKL_", "GLIBC_TUNABLES", "THP_")  # variables that settings are to have alone
WORKS = ("encode", "base", "finetune")
REPEATS = 2
IMAGES = 16  # of an encoded batch


def work(name: str, profile: str) -> Callable[[int], object]:
    """Return a call that does one repeat of a work, given its number."""
    import torch
    from networks import base_stage, finetune_stage, read_profile

    from alit.tokenizer.encoding import ReconstructionLoss
    from alit.tokenizer.tokenizer import AdaptiveTokenizer

    settings = read_profile(profile)
    if name == "base":
        return base_stage(settings).step
    if name == "finetune":
        return finetune_stage(settings, discriminator_steps=1).step
    tokenizer = AdaptiveTokenizer(settings.tokenizer).eval()
    images = torch.rand(IMAGES, 3, tokenizer.image_size, tokenizer.image_size)
    never = ReconstructionLoss(l1=0.0)
    return lambda repeat: tokenizer.encode(images, until=never)


def measure(name: str, profile: str) -> dict[str, float]:
    """Return what one repeat takes in this process, after a first that is not counted."""
    run = work(name, profile)
    run(0)
    before = time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for repeat in range(1, 1 + REPEATS):
        run(repeat)
    after = time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    wall, cpu, faults = ((late - early) / REPEATS for early, late in zip(before, after, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu, "page_faults": faults}


def measure_under(setting: str, profile: str) -> dict[str, dict[str, float]]:
    """Return what one repeat of each work takes in a new process under a setting."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(READ)}
    command = [sys.executable, __file__, "--profile", profile, "--measure"]
    found = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**environment, **SETTINGS[setting]}
    )
    return json.loads(found.stdout.splitlines()[-1])


def compare(profile: str, rounds: int) -> dict[str, Any]:
    """Return, for each work and setting, medians over the rounds, times as ratios to the pipeline's setting."""
    turns = [setting for _ in range(rounds) for setting in SETTINGS]
    found: dict[tuple[str, str], list[dict[str, float]]] = {(name, s): [] for name in WORKS for s in SETTINGS}
    for setting in tqdm(turns, desc="processes", unit="process"):
        for name, taken in measure_under(setting, profile).items():
            found[name, setting].append(taken)
    table: dict[str, Any] = {}
    for (name, setting), rows in found.items():
        table.setdefault(name, {})[setting] = {
            "seconds": round(median(row["seconds"] for row in rows), 3),
            "page_faults": round(median(row["page_faults"] for row in rows)),
            "seconds_over_pipeline": _over(rows, found[name, PIPELINE], "seconds"),
            "cpu_seconds_over_pipeline": _over(rows, found[name, PIPELINE], "cpu_seconds"),
        }
    return table


def _over(rows: list[dict[str, float]], others: list[dict[str, float]], kind: str) -> float:
    return round(median(row[kind] / other[kind] for row, other in zip(rows, others, strict=True)), 3)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="cpu", help="whose networks and batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args(argv)
    if arguments.measure:
        print(json.dumps({name: measure(name, arguments.profile) for name in WORKS}))
        return
    from networks import read_profile, sizes_of  # with torch, which must not be here where settings are tried

    result = {
        "command": "python benchmarks/cpu_settings.py",
        "networks": sizes_of(read_profile(arguments.profile).tokenizer),
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "settings": SETTINGS,
        "works": compare(arguments.profile, arguments.rounds),
    }
    tell(result, arguments.output)


if __name__ == "__main__":
    run_command(main)
