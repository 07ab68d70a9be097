"""Several tokenizers over the same images: one folder each, as a sweep leaves it."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from alit.config.s_sweep import SweepConfig
from alit.protocol import Tokenizer
from alit.sweep.engine import sweep
from alit.sweep.measure import SweepSet
from alit.tasks.protocol import FeatureExtractor, Task


class Entrant(NamedTuple):
    """A tokenizer that has a sweep to come."""

    load: Callable[[], Tokenizer]  # onto the sweep's device; one at a time is in memory
    settings: Mapping[str, Any]  # what else its numbers depend on, or should be on record (JSON values)


def sweep_several(
    tokenizers: Mapping[str, Entrant],
    sets: Iterable[SweepSet],
    tasks: Iterable[Task],
    extractors: Iterable[FeatureExtractor],
    *,
    config: SweepConfig,
    scratch: Path,
    device: torch.device,
) -> Path:
    """Sweep one tokenizer after another and return the folder that holds their sweeps, `<folder>/<name>`.

    What is finished stays there until the caller has moved it: a run that was stopped only repeats what is not, or
    what was measured with other weights, images or settings.

    Args:
        tokenizers: by name of their folder.
        sets: as for `alit.sweep.engine.sweep`, and so are tasks, extractors, config and device.
        scratch: a folder of this caller's own; sweeps of names that are no longer asked for are removed from it.
    """
    sets, tasks, extractors = list(sets), list(tasks), list(extractors)
    folder = scratch / "finished"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other.name not in tokenizers:
            shutil.rmtree(other)
    for name, entrant in tokenizers.items():
        print(f"sweep of {name}", flush=True)
        sweep(
            entrant.load(),
            sets,
            tasks,
            extractors,
            config=config,
            scratch=scratch,
            out=folder / name,
            device=device,
            settings=entrant.settings,
        )
    return folder


def move_whole(folder: Path, out: Path) -> None:
    """Put a folder in the place of another; it may come from another disk."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
