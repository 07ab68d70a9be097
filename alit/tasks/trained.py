"""Task networks that the pipeline trains itself: built from scratch, saved, and loaded again with care."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from alit.config import TaskModelConfig
from alit.data.imageset import ImageSet
from alit.errors import CheckpointError, ConfigError
from alit.tasks.classification import ClassificationTask, Classifier
from alit.tasks.depth import DepthNetwork, relative_depth_error
from alit.tasks.networks import SmallCNN, SmallUNet
from alit.tasks.protocol import SweepBatch
from alit.tasks.provenance import weights_sha256

TIMM = "timm/"
SHARED = "task/"


def is_trained_here(config: TaskModelConfig) -> bool:
    """Whether the pipeline trains this network itself, rather than loading or sharing it."""
    return config.weights == "train" and not config.architecture.startswith(SHARED)


def new_network(config: TaskModelConfig, class_names: tuple[str, ...]) -> Classifier | DepthNetwork:
    """Build an untrained network that answers in `class_names` (classifiers) or metres (depth).

    Weights come from torch's global generator: fork and seed it around this call.

    Raises:
        ConfigError: the architecture cannot be trained here.
    """
    if config.kind == "classifier" and config.architecture == "small_cnn":
        return Classifier(SmallCNN(len(class_names)), input_size=config.input_size, class_names=class_names)
    if config.kind == "classifier" and config.architecture.startswith(TIMM):
        import timm

        name = config.architecture.removeprefix(TIMM)
        if not timm.is_model(name):
            raise ConfigError(f"task model {config.name}: expected timm/<name of a timm model>, found {name}")
        network = timm.create_model(name, num_classes=len(class_names))
        return Classifier(network, input_size=config.input_size, class_names=class_names)
    if config.kind == "depth" and config.architecture == "small_unet":
        if config.input_size % 16:
            raise ConfigError(f"expected a multiple of 16 as input_size of small_unet, found {config.input_size}")
        return DepthNetwork(SmallUNet(), input_size=config.input_size, metric=True)
    raise ConfigError(
        f"task model {config.name}: expected small_cnn or timm/<name> to train a classifier, small_unet to "
        f"train a depth network, found {config.architecture} for a {config.kind}"
    )


def save_trained(folder: Path, config: TaskModelConfig, network: Classifier | DepthNetwork, results: Any) -> None:
    """Write model.safetensors and config.json (settings, classes, weight hash, `results`) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = network.class_names if isinstance(network, Classifier) else None
    content = {
        "settings": config.model_dump(),
        "class_names": classes,
        "weights_sha256": weights_sha256(network),
        "results": results,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


@torch.no_grad()
def evaluate_trained(
    network: Classifier | DepthNetwork, images: ImageSet, device: torch.device, batch_size: int = 64
) -> dict[str, Any]:
    """Return a network's top-1 accuracy over labelled images, or its mean relative error over known depths.

    An image set without what the network answers gives null.
    """
    scores: list[np.ndarray] = []
    for start in range(0, len(images), batch_size):
        rows = np.arange(start, min(start + batch_size, len(images)))
        depth = images.depth(rows)
        batch = SweepBatch(
            images.images(rows).to(device),
            images.labels(rows),
            images.class_names,
            None if depth is None else depth.to(device),
        )
        if isinstance(network, Classifier):
            ranks = ClassificationTask("", network, {})
            (values,) = ranks.score(batch.images, ranks.reference(batch), batch).values()
            scores.append(np.where(np.isnan(values), np.nan, values < 1))
        elif depth is not None:
            scores.append(relative_depth_error(network.at_size_of(batch.images, depth), depth.to(device)).cpu().numpy())
    known = np.concatenate([*scores, np.empty(0)])
    known = known[~np.isnan(known)]
    name = "accuracy" if isinstance(network, Classifier) else "relative_depth_error"
    return {"dataset": images.name, "images": len(known), name: float(known.mean()) if len(known) else None}


def load_trained(folder: Path, config: TaskModelConfig) -> Classifier | DepthNetwork:
    """Load what `save_trained` wrote, on the CPU.

    Raises:
        CheckpointError: the files are missing, broken, or belong to other settings of the same name.
    """
    try:
        content = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        names = tuple(content["class_names"] or ())
        architecture = content["settings"]["architecture"]
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"expected a trained task model at {folder}, found none that can be read ({error}); "
            "run the stage task_models"
        ) from error
    if architecture != config.architecture:
        raise CheckpointError(
            f"expected {config.architecture} at {folder}, found {architecture}; run the stage task_models"
        )
    network = new_network(config, names)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: the weights are not of {architecture}: {error}") from error
    return network
