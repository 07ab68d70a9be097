"""The checkpoints that a profile names, and the published base tokenizers that it or they were trained over."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from alit.paths import TARGET, RunPaths
from alit.tasks.weights import HUB, PublishedWeights
from experiments.needs.need import BASE_STAGES, BASELINE_STAGES, Need
from experiments.needs.published import published_need


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
    yield published_need("checkpoint", source, weights, "init_from", stages)


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
        yield published_need("base tokenizer", name, weights, instead, stages[name])


def named_base(checkpoint: Path) -> dict[str, Any] | None:
    """Return the settings of the published base tokenizer that a checkpoint names without holding it, if any."""
    try:
        base = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["base"]
        with safe_open(checkpoint / "model.safetensors", framework="numpy") as file:
            held = any(name.startswith("base.") for name in file.keys())  # noqa: SIM118 - no mapping
    except (OSError, ValueError, LookupError, TypeError, SafetensorError):
        return None  # no folder of save_pretrained, or a damaged one, which stage `pretrained` names
    return None if held or not base.get("pretrained") else base


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
