"""What the benchmarks share: times by turns, as ratios within one run on a busy machine; FLOPs; memory; output.

Import it before torch: OpenMP's threads must know how to wait before it loads them (see experiments/__init__.py).
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from tqdm import tqdm

from alit.config import Profile, load_profile
from alit.files import write_whole
from alit.models.distillation import TokenizerConfig
from alit.paths import project_root
from alit.tokenizer.cost import GIGA, count_flop

Name = TypeVar("Name")


class Seconds(NamedTuple):
    """What a call took in each round."""

    wall: np.ndarray  # by the clock
    cpu: np.ndarray  # of all threads together: what others do on the machine hardly counts


def take_turns(calls: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, Seconds]:
    """Return the seconds of each call in each round; a round runs every call once, and one more round warms up.

    What slows the machine down for a while then slows all calls alike, and ratios within a round keep their meaning.
    """
    taken: dict[Name, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in tqdm(range(1 + rounds), desc="rounds", unit="round"):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            taken[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {name: Seconds(*np.array(values[1:]).T) for name, values in taken.items()}


def ratio(above: Seconds, below: Seconds) -> dict[str, dict[str, float]]:
    """Return the median, least and greatest of the rounds' ratios, of both kinds of seconds."""
    both = {"wall": above.wall / below.wall, "cpu": above.cpu / below.cpu}
    statistics = {"median": np.median, "lowest": np.min, "highest": np.max}
    return {
        kind: {name: round(float(statistic(ratios)), 3) for name, statistic in statistics.items()}
        for kind, ratios in both.items()
    }


def gigaflops(call: Callable[[], object]) -> float:
    """Return the GFLOP (two per multiply-add) of a call by torch's counter."""
    return count_flop(call) / GIGA


def machine() -> dict[str, Any]:
    """Return what times depend on."""
    return {"threads": torch.get_num_threads(), "torch": torch.__version__, "processor": platform.machine()}


def read_profile(name: str) -> Profile:
    """Return the settings of a file in configs/."""
    return load_profile(project_root(Path(__file__).parent) / "configs" / f"{name}.yaml")


def sizes_of(config: TokenizerConfig) -> dict[str, Any]:
    """Return what a result says of the networks that it was measured with: profiles change."""
    return {
        "image_size": config.image_size,
        "base": f"{config.base.kind}, {config.base.channels} channels x {config.base.multipliers}",
        "width": config.distillation.width,
        "layers": config.distillation.layers,
        "lengths": config.lengths,
    }


def write_result(result: Mapping[str, Any], output: Path | None) -> None:
    """Print a result as JSON and, if there is a file for it, write it there."""
    text = json.dumps(result, indent=2)
    print(text)
    if output:
        write_whole(output, f"{text}\n".encode())
