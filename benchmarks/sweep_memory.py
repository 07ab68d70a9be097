"""Peak memory of the sweep at two data set sizes: it must not grow with the number of images.

    python benchmarks/sweep_memory.py [--images 1000 5000] [--tokenizer runs/cpu/tokenizer | --stand-in]

Sweeps embedded scenes at the size and with the task networks of the cpu profile, each number of images in a process
of its own, and prints JSON: megabytes above what the imports take, and seconds. Untrained networks stand in for
trained ones, which use as much memory. The tokenizer is an untrained one of the profile's size, a checkpoint
(`--tokenizer`), or, on a slow machine, one that only blurs (`--stand-in`): growth with the images shows just as well.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from memory import peak_bytes

from alit.config import Profile, load_profile
from alit.data.imageset import open_set
from alit.data.prepare import ImageSetConfig, materialize_sets
from alit.errors import run_command
from alit.paths import RunPaths, project_root
from alit.sweep.engine import sweep
from alit.tasks.protocol import resize
from alit.tasks.registry import build_task_models, new_network, save_trained
from alit.tokenizer.protocol import Reconstruction
from alit.tokenizer.tokenizer import AdaptiveTokenizer


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--tokenizer", type=Path, help="a checkpoint folder; by default an untrained tokenizer")
    parser.add_argument("--stand-in", action="store_true", help="blur instead of running a tokenizer")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # the process that sweeps one folder
    arguments = parser.parse_args(argv)
    profile = load_profile(RunPaths(project_root(), arguments.profile).config)
    if arguments.measure:
        print(json.dumps(_measure(profile, arguments.measure, arguments.tokenizer, arguments.stand_in)))
        return
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            prepare(profile, Path(folder), count)
            command = [sys.executable, __file__, "--profile", arguments.profile, "--measure", folder]
            if arguments.tokenizer:
                command += ["--tokenizer", str(arguments.tokenizer)]
            if arguments.stand_in:
                command += ["--stand-in"]
            found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(json.dumps({"images": count, **json.loads(found.stdout.splitlines()[-1])}), flush=True)


def prepare(profile: Profile, folder: Path, count: int) -> None:
    """Write `count` scenes and untrained task networks into `folder`, outside the measured process."""
    scenes = ImageSetConfig(
        name="val", role="evaluate", source="scenes", path=None, variant="base", split="val", images=count, pack=True
    )
    data = profile.data.model_copy(update={"sets": (scenes,)})
    materialize_sets(data, folder / "data", folder / "rejected.csv", ())
    images = open_set(folder / "data" / "val")
    captions = images.captions(range(count))
    for config in (model for model in profile.task_models if model.trained_here):
        network = new_network(config, images.class_names, captions)
        save_trained(folder / "task_models" / config.name, config, network, None)


def _measure(profile: Profile, folder: Path, checkpoint: Path | None, stand_in: bool) -> dict[str, float]:
    """Sweep the set in `folder`; return megabytes above the baseline, which includes every import but no model."""
    import timm  # noqa: F401 - what a sweep imports when it starts belongs to the baseline
    import torchmetrics.functional.image  # noqa: F401

    baseline = peak_bytes() / 2**20
    start = time.monotonic()
    cpu = torch.device("cpu")
    if stand_in:
        tokenizer = BlurTokenizer(profile)
    elif checkpoint:
        tokenizer = AdaptiveTokenizer.from_pretrained(checkpoint).eval()
    else:
        tokenizer = AdaptiveTokenizer(profile.tokenizer).eval()
    models = build_task_models(profile.task_models, folder / "task_models", cpu)
    sweep(
        tokenizer,
        [open_set(folder / "data" / "val")],
        models.tasks,
        models.extractors,
        config=profile.sweep,
        scratch=folder / "scratch",
        out=folder / "sweep",
    )
    seconds = time.monotonic() - start
    return {
        "baseline_mb": round(baseline),
        "above_baseline_mb": round(peak_bytes() / 2**20 - baseline),
        "seconds": round(seconds),
    }


class BlurTokenizer:
    """The lengths of a profile's tokenizer at no cost: the shorter the code, the coarser the image."""

    name = "blur"

    def __init__(self, profile: Profile) -> None:
        self.image_size = profile.tokenizer.image_size
        self.lengths = profile.tokenizer.lengths
        self.base_tokens = self.lengths[-1]

    def reconstructions(self, images: torch.Tensor) -> Iterator[Reconstruction]:
        """Yield `images` through ever finer grids."""
        for step, length in enumerate(self.lengths, start=1):
            coarse = resize(images, max(1, self.image_size * step // len(self.lengths)))
            yield Reconstruction(length, torch.full((len(images),), float(length)), resize(coarse, self.image_size))


if __name__ == "__main__":
    run_command(main)
