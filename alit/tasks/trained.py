"""Task networks that the pipeline trains itself: built from scratch, saved, and loaded again with care."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from alit.config.s_tasks import TaskModelConfig
from alit.data.imageset import ImageSet
from alit.errors import CheckpointError, ConfigError
from alit.tasks.captioning import CaptionTask
from alit.tasks.classification import ClassificationTask, Classifier
from alit.tasks.depth import DepthNetwork, relative_depth_error
from alit.tasks.dual_encoder import WIDTHS, DualEncoder
from alit.tasks.networks import UNET_WIDTHS, SmallCNN, UNet
from alit.tasks.protocol import SweepBatch
from alit.tasks.provenance import weights_sha256

TIMM = "timm/"
SHARED = "task/"

Trained = Classifier | DepthNetwork | DualEncoder


def is_trained_here(config: TaskModelConfig) -> bool:
    """Whether the pipeline trains this network itself, rather than loading or sharing it."""
    return config.weights == "train" and not config.architecture.startswith(SHARED)


def new_network(config: TaskModelConfig, class_names: tuple[str, ...], captions: Sequence[str | None] = ()) -> Trained:
    """Build an untrained network that answers in `class_names`, in metres (depth) or in known captions.

    Weights come from torch's global generator: fork and seed it around this call.

    Args:
        config: which network.
        class_names: of the training images.
        captions: of the training images, one each; read by captioners only.

    Raises:
        ConfigError: the architecture cannot be trained here, or not on these images.
    """
    if config.kind == "classifier" and config.architecture == "small_cnn":
        return Classifier(SmallCNN(len(class_names)), input_size=config.input_size, class_names=class_names)
    if config.kind == "classifier" and config.architecture.startswith(TIMM):
        return _new_timm_classifier(config, class_names)
    if config.kind == "depth" and config.architecture in UNET_WIDTHS:
        return _new_depth_network(config)
    if config.kind == "caption" and config.architecture in WIDTHS:
        return _new_captioner(config, captions)
    raise ConfigError(
        f"task model {config.name}: expected small_cnn or timm/<name> to train a classifier, "
        f"{' or '.join(UNET_WIDTHS)} to train a depth network, {' or '.join(WIDTHS)} to train a captioner, found "
        f"{config.architecture} for a {config.kind}"
    )


def _new_timm_classifier(config: TaskModelConfig, class_names: tuple[str, ...]) -> Classifier:
    import timm

    name = config.architecture.removeprefix(TIMM)
    if not timm.is_model(name):
        raise ConfigError(f"task model {config.name}: expected timm/<name of a timm model>, found {name}")
    network = timm.create_model(name, num_classes=len(class_names))
    return Classifier(network, input_size=config.input_size, class_names=class_names)


def _new_depth_network(config: TaskModelConfig) -> DepthNetwork:
    if config.input_size % 16:
        raise ConfigError(
            f"expected a multiple of 16 as input_size of {config.architecture}, found {config.input_size}"
        )
    return DepthNetwork(UNet(UNET_WIDTHS[config.architecture]), input_size=config.input_size, metric=True)


def _new_captioner(config: TaskModelConfig, captions: Sequence[str | None]) -> DualEncoder:
    known = [caption for caption in captions if caption is not None]
    if len(known) < max(len(captions), 1):
        raise ConfigError(
            f"task model {config.name}: expected a caption of each training image, found {len(known)} of "
            f"{len(captions)}; take a captioner with published weights"
        )
    return DualEncoder(known, WIDTHS[config.architecture], input_size=config.input_size)


def save_trained(folder: Path, config: TaskModelConfig, network: Trained, results: Any) -> None:
    """Write model.safetensors and config.json (settings, what it answers in, weight hash, `results`) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "settings": config.model_dump(),
        "class_names": network.class_names if isinstance(network, Classifier) else None,
        "captions": network.known_captions if isinstance(network, DualEncoder) else None,
        "weights_sha256": weights_sha256(network),
        "results": results,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


@torch.no_grad()
def evaluate_trained(network: Trained, images: ImageSet, device: torch.device, batch_size: int = 64) -> dict[str, Any]:
    """Return a network's mean performance on untouched images: accuracy, relative depth error or caption score.

    Images without what the network is compared with do not count; if none has it, the mean is null.
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
            images.captions(rows),
        )
        scores.append(_performance(network, batch))
    known = np.concatenate([*scores, np.empty(0)])
    known = known[~np.isnan(known)]
    return {
        "dataset": images.name,
        "images": len(known),
        _MEASURES[type(network)]: float(known.mean()) if len(known) else None,
    }


_MEASURES = {Classifier: "accuracy", DepthNetwork: "relative_depth_error", DualEncoder: "caption_score"}


def _performance(network: Trained, batch: SweepBatch) -> np.ndarray:
    """Return what a network scores on each untouched image, NaN where it cannot be compared."""
    if isinstance(network, Classifier):
        ranks = ClassificationTask("", network, {})
        (values,) = ranks.score(batch.images, ranks.reference(batch), batch).values()
        return np.where(np.isnan(values), np.nan, values < 1)
    if isinstance(network, DualEncoder):
        captions = CaptionTask("", network, {})
        return captions.score(batch.images, captions.reference(batch), batch)[captions.columns[1]]
    if batch.depth is None:
        return np.full(len(batch.images), np.nan)
    return relative_depth_error(network.at_size_of(batch.images, batch.depth), batch.depth).cpu().numpy()


def load_trained(folder: Path, config: TaskModelConfig) -> Trained:
    """Load what `save_trained` wrote, on the CPU.

    Raises:
        CheckpointError: the files are missing, broken, or belong to other settings of the same name.
    """
    try:
        content = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        names = tuple(content["class_names"] or ())
        captions = tuple(content["captions"] or ())
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
    network = new_network(config, names, captions)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: the weights are not of {architecture}: {error}") from error
    return network
