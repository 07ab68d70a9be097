"""A sweep of toy sets by several processes, one of which may fail: run as a script, with where it writes."""

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from toy_sweep import CONFIG, FadingTokenizer, MeanColor, ToySet

from alit.errors import DataError, run_command
from alit.sweep.engine import sweep
from alit.tasks.perceptual import ReconstructionTask
from alit.training.engine.fabric import build_fabric
from alit.training.engine.processes import fail_together


class FailingTokenizer(FadingTokenizer):
    """Fails in one way, in one process, at its second chunk."""

    def __init__(self, rank: int, fault: str | None) -> None:
        super().__init__()
        self.rank, self.fault = rank, fault

    def reconstructions(self, images):
        """Yield as the other does, but for the fault."""
        if self.fault and self.images >= CONFIG.chunk_size:
            if self.fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"fault": DataError, "bug": ZeroDivisionError}[self.fault](
                f"process {self.rank} meets a {self.fault}"
            )
        yield from super().reconstructions(images)


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep 30 images in chunks of four."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("devices", type=int)
    parser.add_argument("--fault", choices=("fault", "bug", "killed"))
    parser.add_argument("--rank", type=int, nargs="+", default=[])
    arguments = parser.parse_args(argv)
    fabric = build_fabric("cpu", arguments.devices)
    fault = arguments.fault if fabric.global_rank in arguments.rank else None
    with fail_together(fabric):
        sweep(
            FailingTokenizer(fabric.global_rank, fault),
            [ToySet("val", 17), ToySet("far", 13, seed=1)],
            [ReconstructionTask()],
            [MeanColor()],
            config=CONFIG,
            scratch=arguments.folder,
            out=arguments.out,
            fabric=fabric,
        )
    if fabric.is_global_zero:
        print(f"{fabric.world_size} processes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_command(main)
