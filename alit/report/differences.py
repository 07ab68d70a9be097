"""The page of the settings by which a run differs from the paper."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alit.files import read_json
from alit.paths import RunPaths
from alit.report.site import Site

# Settings that change no number: texts, the machine, how work is cut into pieces, what is kept of it.
NO_NUMBERS = {"about", "device", "devices", "execution", "sweep", "report", "save_every", "log_every", "pack"}
DETAILS = ("images", "architecture", "input_size", "train_on")  # shown of an entry of a list, after its name
TRAINED = {"base_training": "base", "distill": "distilled", "finetune": "tokenizer"}  # section -> folder of its stage
AUGMENTATION = ("flip", "crop_scale", "crop_aspect")  # settings of section data that only training reads


class Difference(NamedTuple):
    """One setting that differs between the paper and a run."""

    key: str
    paper: str
    here: str


def write_differences(site: Site, paths: RunPaths, paper: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Write the settings of a run that differ from the paper's; of networks and training, as recorded with the weights.

    Args:
        site: where the page goes.
        paths: of the run.
        paper, here: both profiles, complete.
    """
    compared = recorded_settings(paper, here, paths)
    content = {"differences": settings_diff(compared.paper, compared.here), "unknown": compared.unknown}
    site.write("differences.html", "differences.html", title="Differences", command=site.command, **content)


class ComparedSettings(NamedTuple):
    """Two profiles, reduced to what is known of both."""

    paper: dict[str, Any]
    here: dict[str, Any]
    unknown: list[str]  # what was left out: nothing is recorded of it


def recorded_settings(paper: Mapping[str, Any], here: Mapping[str, Any], paths: RunPaths) -> ComparedSettings:
    """Put what is recorded with the weights in place of the profile's settings of networks and training.

    A profile that measures a checkpoint may hold settings that its weights were never trained by. What a record does
    not hold is left out on both sides. Where weights come from, and what followed, stands on every page in words of its
    own.
    """
    records = {section: _read_json(paths.run / folder / "training.json") for section, folder in TRAINED.items()}
    known: dict[str, Any] = {
        section: (record or {}).get("training")  # a published base tokenizer has none
        for section, record in records.items()
    }
    known["perceptual_trunk"] = (records["finetune"] or {}).get("perceptual_trunk")
    known["tokenizer"] = _read_json(paths.tokenizer / "config.json") or here["tokenizer"]
    published, own = ({**profile, "init_from": None, "finetune_from_checkpoint": None} for profile in (paper, here))
    for section, record in known.items():
        published[section], own[section] = _only_known(published[section], record), record
    unknown = [section for section, record in known.items() if record is None]
    data = next((record["data"] for record in records.values() if record is not None and "data" in record), None)
    if data is None:
        unknown.append("data of the training")
    published["data"] = _with_training_data(published["data"], None if data is None else published["data"])
    own["data"] = _with_training_data(own["data"], data)
    return ComparedSettings(published, own, unknown)


def _only_known(published: Any, known: Any) -> Any:
    """Reduce settings to the keys of others; settings may have been added since those were written."""
    if isinstance(published, Mapping) and isinstance(known, Mapping):
        return {key: _only_known(value, known[key]) for key, value in published.items() if key in known}
    return None if known is None else published


def _with_training_data(data: Mapping[str, Any], training: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return section data with the training images and their augmentation of another, or without any."""
    sets = [] if training is None else [part for part in training["sets"] if part["role"] == "train"]
    sets += [part for part in data["sets"] if part["role"] != "train"]
    trained = training or {}
    known = {key: trained.get(key) if key in AUGMENTATION else value for key, value in data.items()}
    return {key: value for key, value in known.items() if key not in AUGMENTATION or key in trained} | {"sets": sets}


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def settings_diff(paper: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """Compare two profiles, as read from YAML, by dotted key; settings that change no number are left out."""
    published, own = flatten(paper), flatten(here)
    sections = [*paper, *here]
    keys = sorted(dict.fromkeys([*published, *own]), key=lambda key: sections.index(re.split(r"[. ]", key)[0]))
    both = [Difference(key, published.get(key, "–"), own.get(key, "–")) for key in keys]
    return [each for each in both if each.paper != each.here]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as texts by dotted key; the entries of a list stand together by their role or kind."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if key in NO_NUMBERS:
            continue
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
            for entry in value:
                group = entry.get("role", entry.get("kind"))
                grouped = f"{name} ({group})" if group else name
                flat[grouped] = ", ".join(filter(None, (flat.get(grouped), _entry(entry))))
        else:
            flat[name] = _text(value)
    return flat


def _entry(entry: Mapping[str, Any]) -> str:
    """Return the name of a list's entry and the details that tell it from others; of one without a name, its values."""
    if "name" not in entry:
        return " / ".join(map(_text, entry.values()))
    shown = {key: entry[key] for key in DETAILS if entry.get(key) not in (None, entry["name"])}
    details = [f"{key} {_text(value)}" for key, value in shown.items()]
    return f"{entry['name']} ({', '.join(details)})" if details else entry["name"]


def _text(value: Any) -> str:
    """Return a setting as a reader would write it: equal numbers alike, whether whole or not."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)
