"""What judged images share with the images that the judges were trained on, and image sets with each other.

A network that has seen an image recognizes it better than others of its kind: its accuracy on untouched images, and
what it loses on reconstructions, are then not those of a network that meets them for the first time.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from alit.tasks.weights import FINE_TUNE, SHARED, TIMM, TIMM_HUB, TORCHVISION, TRAIN

IMAGENET = "ImageNet-1K"
OWN_SETS = "an image set of this suite's own"
AN_IMAGE_SET, AND = "image set ", " and then "
# How ILSVRC 2012 names its files: n01440764_10026.JPEG is one of training, ILSVRC2012_val_00000293.JPEG of validation.
_TRAINING_FILE = re.compile(r"n\d{8}_\d+")
_VALIDATION_FILE = re.compile(r"(n\d{8}_)?ILSVRC2012_val_\d{8}")
_ON_IMAGENET = ("efficientnet_lite", TORCHVISION, *(f"{TIMM}{name}" for name in TIMM_HUB))
_EXACTLY = ("inception", "lpips_vgg")


class Overlap(NamedTuple):
    """What is known of one judge and one image set."""

    judge: str
    dataset: str
    trained_on: str  # the judge's training images, in words; empty where they are not known
    images: int  # of the set
    seen: int | None  # of them, those that the judge was trained on; None where nothing tells


def training_overlap(image_ids: Mapping[str, Sequence[str]], judges: Iterable[Mapping[str, Any]]) -> list[Overlap]:
    """Compare every judge with every image set.

    Args:
        image_ids: of each data set.
        judges: entries of `task_models` of a profile, or of `tasks` in a sweep's record: those with an architecture.
    """
    named = {str(judge["name"]): judge for judge in judges if "architecture" in judge}
    found = []
    for name, judge in named.items():
        architecture = str(judge["architecture"])
        whose = named.get(architecture.removeprefix(SHARED), judge) if architecture.startswith(SHARED) else judge
        trained_on = training_images(whose)
        for dataset, ids in image_ids.items():
            found.append(Overlap(name, dataset, trained_on, len(ids), images_seen(trained_on, dataset, ids)))
    return found


def training_images(judge: Mapping[str, Any]) -> str:
    """Return what a judge was trained on, by its entry in a profile or a sweep's record; empty where nothing tells.

    Args:
        judge: keys architecture and weights, and train_on where it is known.
    """
    own = f"{AN_IMAGE_SET}{judge['train_on']}" if judge.get("train_on") else OWN_SETS
    if judge["weights"] == TRAIN:
        return own
    if judge["weights"] == FINE_TUNE:
        published = training_images({**judge, "weights": "pretrained"})
        return f"{published}{AND}{own}" if published else ""
    architecture = str(judge["architecture"])
    if judge["weights"] == "pretrained" and (architecture.startswith(_ON_IMAGENET) or architecture in _EXACTLY):
        return IMAGENET
    return ""


def images_seen(trained_on: str, dataset: str, image_ids: Iterable[str]) -> int | None:
    """Return how many images of a set are among a judge's training images; None where their names do not tell."""
    names = [PurePosixPath(name).stem for name in image_ids]
    if AND in trained_on:  # the sets may share images, and the greater of two counts is sure
        counts = [images_seen(part, dataset, names) for part in trained_on.split(AND)]
        known = [count for count in counts if count is not None]
        return max(known) if len(known) == len(counts) or len(names) in known else None
    if trained_on == OWN_SETS:
        return 0  # a set that trains a task model has that role alone and is not judged
    if trained_on.startswith(AN_IMAGE_SET):
        return len(names) if trained_on == f"{AN_IMAGE_SET}{dataset}" else 0
    if trained_on != IMAGENET:
        return None
    training = sum(bool(_TRAINING_FILE.fullmatch(name)) for name in names)
    validation = sum(bool(_VALIDATION_FILE.fullmatch(name)) for name in names)
    return training if training + validation == len(names) else None


def describe_overlap(overlaps: Iterable[Overlap]) -> list[str]:
    """Return one sentence per group of judges that were trained on the same images."""
    judges: dict[str, list[str]] = {}
    known: dict[str, dict[str, Overlap]] = {}
    for each in overlaps:
        judges.setdefault(each.trained_on, []).append(each.judge)
        known.setdefault(each.trained_on, {})[each.dataset] = each
    sentences = []
    for trained_on, names in judges.items():
        different = list(dict.fromkeys(names))
        who = f"{', '.join(different)} {'was' if len(different) == 1 else 'were'}"
        if not trained_on:
            sentences.append(f"What {who} trained on is not recorded.")
            continue
        sets = list(known[trained_on].values())
        parts = [
            f"{each.seen:,} of the {each.images:,} of {each.dataset} ({each.seen / each.images:.0%}) are among them"
            for each in sets
            if each.seen
        ]
        if none := [each.dataset for each in sets if each.seen == 0]:
            parts.append(f"no image of {', '.join(none)} is")
        if open_sets := [each.dataset for each in sets if each.seen is None]:
            parts.append(f"of {', '.join(open_sets)} the names of the files do not tell")
        sentences.append(f"{who} trained on {trained_on}: {'; '.join(parts)}.")
    return sentences


def describe_judges(table: pd.DataFrame, record: Mapping[str, Any], dataset: str) -> list[str]:
    """Return what is known of a sweep's judges and image sets, in sentences.

    Args:
        table: columns dataset, image_id and length of the sweep table.
        record: the sweep's config.json.
        dataset: the in-distribution set, whose classes the others may share.
    """
    known = table[table["length"] == 0].groupby("dataset", observed=True)["image_id"].apply(list)
    ids = {str(name): list(map(str, each)) for name, each in known.items()}
    sentences = describe_overlap(training_overlap(ids, record.get("tasks", ())))
    for name, count in shared_classes(record.get("images", ()), dataset).items():
        sentences.append(f"{name} shares {count} of its classes with {dataset}.")
    return sentences


def shared_classes(images: Iterable[Mapping[str, Any]], dataset: str) -> dict[str, int]:
    """Return how many classes each other set shares with one, those that share any.

    Args:
        images: the sets as a sweep's record has them, with `dataset` and `class_names`.
        dataset: the one to compare with.
    """
    classes = {part["dataset"]: set(part.get("class_names", ())) for part in images}
    here = classes.get(dataset, set())
    return {name: len(here & other) for name, other in classes.items() if name != dataset and here & other}
