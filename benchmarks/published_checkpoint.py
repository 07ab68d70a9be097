"""Time and memory from a full-size checkpoint in the authors' layout to the report, on this machine's CPU.

    python benchmarks/published_checkpoint.py -o benchmarks/results/published_checkpoint.json

Writes `alit_small` with random weights as the authors write theirs, four images a set, and task networks with random
weights in a cache of the hubs' clients (tests/helpers/network_cache.py), then runs the commands of
docs/published-checkpoints.md in a copy of this checkout. Nothing is fetched.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import machine, write_result  # isort: skip; before torch

import psutil
import torch

from alit.tokenizer.published import published_config
from alit.tokenizer.tokenizer import AdaptiveTokenizer

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
SIZE = 256


def main() -> None:
    """Run it in a folder that is removed afterwards, and print what each command took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="also write the result here")
    parser.add_argument("--folder", type=Path, help="run here instead, and go on from what is there")
    parser.add_argument("--target", action="append", help="bring only this stage up to date; again for more, in order")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)).resolve()
        if not (folder / "ready").exists():
            prepare(folder)
        result = {
            "command": "python benchmarks/published_checkpoint.py",
            "images_per_set": 4,
            "machine": machine(),
        }
        write_result(result | {"steps": run(folder, arguments.target or [])}, arguments.output)


def prepare(folder: Path) -> None:
    """Write the checkout, the images, the networks and the checkpoint."""
    sys.path.insert(0, str(HELPERS))  # the same little checkout is tested with a tiny checkpoint
    from network_cache import network_cache
    from published_project import BLIP_SIZE, authors_checkpoint, copy_checkout, write_images, write_profile

    shutil.rmtree(folder, ignore_errors=True)
    copy_checkout(folder / "suite")
    write_profile(folder / "suite", SIZE)
    write_images(folder / "images", 2 * SIZE)
    network_cache(folder / "cache", BLIP_SIZE)
    torch.manual_seed(0)
    authors_checkpoint(folder / "suite" / "alit_small.pth", AdaptiveTokenizer(published_config("small")))
    (folder / "ready").touch()


def run(folder: Path, targets: list[str]) -> dict[str, dict[str, Any]]:
    """Run the documented commands, all stages or up to each target, and return seconds and peak memory of each."""
    environment = {
        **os.environ,
        "HF_HUB_CACHE": str(folder / "cache" / "hub"),
        "TORCH_HOME": str(folder / "cache" / "torch"),
        "HF_HUB_OFFLINE": "1",
        "ALIT_DATA": str(folder / "images"),
        "PYTHONPATH": str(folder / "suite"),
        "MPLBACKEND": "Agg",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
    }
    repro = ["experiments.repro", "published", "--init-from", "alit_small.pth"]
    steps = {"convert": ["alit.cli", "convert", "alit_small.pth", "alit-small"]}
    steps |= {f"repro to {target}": [*repro, "--target", target] for target in targets} or {"repro": repro}
    return {name: watch([sys.executable, "-m", *step], folder / "suite", environment) for name, step in steps.items()}


def watch(command: list[str], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run a command; return its seconds by the clock and of the CPU, and the most memory of its processes together."""
    before, start = _cpu_of_children(), time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    peak = [0]
    watcher = threading.Thread(target=_follow, args=(process, peak), daemon=True)
    watcher.start()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed in {folder}")
    seconds, cpu = time.perf_counter() - start, _cpu_of_children() - before
    return {"seconds": round(seconds), "cpu_seconds": round(cpu), "peak_gb": round(peak[0] / 1e9, 2)}


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _follow(process: subprocess.Popen, peak: list[int]) -> None:
    while process.poll() is None:
        try:
            family = psutil.Process(process.pid)
            sizes = [each.memory_info().rss for each in (family, *family.children(recursive=True))]
            peak[0] = max(peak[0], sum(sizes))
        except psutil.Error:  # one has just ended
            pass
        time.sleep(0.2)


if __name__ == "__main__":
    main()
