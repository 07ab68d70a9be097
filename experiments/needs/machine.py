"""The devices and the disk that a profile needs, and about what its trainings take."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt

from alit.data.prepare import DataConfig
from alit.errors import CheckpointError
from alit.paths import RunPaths
from alit.settings import parse_settings
from alit.tasks.weights import TaskModelConfig
from experiments.needs.image_sets import images_needed
from experiments.needs.need import ESTIMATE, Need

if TYPE_CHECKING:  # it loads torch
    from alit.config import Profile

FEATURE_SIZES = {"inception": 2048, "timm/vgg16": 4096, "torchvision/vgg16": 4096, "torchvision/alexnet": 4096}


def device_needs(profile: dict[str, Any]) -> Iterator[Need]:
    """Yield the devices that the profile asks for: GPUs, or processes on the CPU's cores."""
    device = parse_settings(Literal["auto", "cpu", "cuda"], profile.get("device", "auto"), source="device")
    devices = parse_settings(PositiveInt, profile.get("devices", 1), source="devices")
    cards, cores = find_gpus(), os.cpu_count() or 1
    found = f"{len(cards)} x {cards[0]}" if cards else f"no GPU; {cores} CPU cores"
    if cards and "+cpu" in importlib.metadata.version("torch"):
        found, cards = f"{found}, but torch is built for CPUs alone", []
    on_gpu = device == "cuda" or (device == "auto" and bool(cards))
    there = len(cards) if on_gpu else cores
    remedy = ""
    if there < devices:
        fewer = f"set devices to {there}" if there else "set device to cpu and devices to 1"
        remedy = f"{fewer}, or run where {devices} GPUs are"
    needed = f"{devices} x {'GPU' if on_gpu else 'GPU or CPU core' if device == 'auto' else 'CPU core'}"
    yield Need("machine", "devices", f"{device}: {needed}", found, remedy)


def find_gpus() -> list[str]:
    """Return name and memory of each NVIDIA GPU that this process may use, without loading torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = (
        len(listed) if visible is None else len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    )
    return [line.strip() for line in listed if line.strip()][:count]


def disk_needs(data: DataConfig, models: Sequence[TaskModelConfig], paths: RunPaths) -> Iterator[Need]:
    """Yield the free disk that packed images and the sweep's features need, about; checkpoints come on top."""
    images = {one.name: images_needed(one) or 0 for one in data.sets}
    packed = sum(images[one.name] for one in data.sets if one.pack) * data.image_size**2 * 3
    rows = sum(images[one.name] for one in data.sets if one.role == "evaluate") * 9  # the original and eight lengths
    numbers = sum(FEATURE_SIZES.get(model.architecture, 1280) for model in models if model.kind == "features")
    needed = (packed + rows * numbers * 4) / 1e9
    free = shutil.disk_usage(paths.root).free / 1e9
    remedy = f"free some of the disk that holds {paths.root}" if free < needed else ""
    yield Need("machine", "disk", f"about {needed:.1f} GB for images and features", f"{free:.0f} GB free", remedy)


def estimates(paths: RunPaths, init_from: str | None = None) -> Iterator[Need]:
    """Yield about what the profile's trainings take: device-hours as last counted, and memory where a GPU is.

    Not part of `find_needs`, since it loads torch.
    """
    from alit.config import load_profile
    from experiments import training_cost

    profile = load_profile(paths.config)
    own, init_from = profile.training, init_from or profile.init_from
    if own is None or (init_from != "scratch" and not profile.variants.trainings):
        yield Need(ESTIMATE, "training", "none", "sweeps and studies are not estimated")
        return
    kept = paths.root / "benchmarks" / "results" / f"training_cost_{paths.profile}.json"
    counted = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    command = f"python -m experiments.training_cost {paths.profile}"
    if counted.get("settings_sha256") == training_cost.settings_sha256(profile):
        hours, rate = counted["gpu_hours"], counted["teraflops"]
        needed = f"{counted['total']:.1e} FLOP, {hours:,.0f} GPU-hours at {rate:g} TFLOP/s"
        found = f"{hours / 24 / profile.devices:,.0f} days on {profile.devices} such GPUs, an assumption for an H100"
        yield Need(ESTIMATE, "training", needed, f"{found}; sweeps and studies come on top")
    else:
        yield Need(ESTIMATE, "training", "not counted for these settings", f"{command} counts it, in minutes")
    yield from memory_needs(profile, paths.profile)


def memory_needs(profile: "Profile", name: str) -> Iterator[Need]:
    """Yield what each training of the profile is planned to take of a GPU's memory, where there is one; loads torch."""
    from experiments import memory

    cards = find_gpus()
    if not cards or profile.training is None:
        place = f"no GPU here; python -m experiments.memory {name} plans it"
        yield Need(ESTIMATE, "GPU memory", "not planned", place)
        return
    there = card_gigabytes(cards[0])
    for training in memory.distinct_trainings(profile, profile.training, variants=False):
        try:
            row = memory.plan_row(profile, *training)
        except CheckpointError as error:  # the base tokenizer, which the table names as missing
            yield Need(ESTIMATE, "GPU memory", "not planned", str(error))
            return
        yield memory_need(row["stage"], row["total"] / 1e9, row["images_at_once"], there)


def memory_need(stage: str, planned: float, images: int, there: float | None) -> Need:
    """Return what a stage's planned gigabytes at so many images at once mean on a card; None: of unknown size."""
    found = "a card of unknown size" if there is None else f"{there:.0f} GB on each"
    remedy = ""
    if there is not None and planned > there:
        remedy = f"set execution.micro_batch.{stage} below {images}, or execution.checkpoint_activations: true"
    needed = f"{planned:.1f} GB with {images} images at once"
    return Need(ESTIMATE, f"GPU memory of {stage}", needed, found, remedy, frozenset({stage}))


def card_gigabytes(card: str) -> float | None:
    """Return the memory of a card as `find_gpus` names it, in units of 1e9 bytes; None where it does not say."""
    found = re.search(r"(\d+) MiB", card)
    return None if found is None else int(found[1]) * 2**20 / 1e9
