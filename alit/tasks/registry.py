"""From the settings of task models to networks, tasks and feature extractors::

    kind        architecture                           weights     columns and features
    classifier  small_cnn, timm/<name>                 train       class_rank_<model>, class_rank_in_set_<model>
                timm/<name>, torchvision/<name>,       pretrained, class_rank_<model>, class_rank_in_set_<model>
                efficientnet_lite0|1|2                 fine-tune
    depth       any of them                            (none)      depth_rank_agreement_blind_lower|center, once
                small_unet, unet                       train       depth_error_<model>, depth_rank_agreement_<model>,
                                                                   depth_true_error_<model>
                depth_anything_v2_small|base|large     pretrained  depth_error_<model>, depth_rank_agreement_<model>
    caption     small_dual_encoder, dual_encoder       train       caption_score_<model>, caption_true_score_<model>
                blip_base|large                        pretrained  caption_score_<model>, caption_true_score_<model>
    features    task/<name of a classifier above it>   shared      perceptual_<model>, features_<model>
                timm/<name>, torchvision/<name>,       pretrained  perceptual_<model>, features_<model>
                efficientnet_lite0|1|2
                inception                              pretrained  features_<model>, the only ones to call FID
                lpips_vgg                              pretrained  perceptual_<model>, the only one to call LPIPS

In place of `pretrained` weights may name a local file or folder; `alit.tasks.weights` says which.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from alit.errors import CheckpointError, ConfigError, require
from alit.models.weights import read_safetensors, weights_sha256
from alit.tasks.captioning import WIDTHS, Captioner, CaptionTask, DualEncoder
from alit.tasks.classification import ClassificationTask, Classifier
from alit.tasks.depth import BlindDepthRules, DepthNetwork, DepthTask
from alit.tasks.features import ClassifierFeatures, InceptionFeatures, reference_inception
from alit.tasks.networks import UNET_WIDTHS, SmallCNN, UNet
from alit.tasks.perceptual import LpipsTrunk, PerceptualTask, ReconstructionTask, lpips_vgg
from alit.tasks.pretrained import (
    blank_efficientnet_lite,
    blank_timm_classifier,
    blank_torchvision_classifier,
    blip,
    depth_anything_v2,
    efficientnet_lite,
    timm_classifier,
    torchvision_classifier,
)
from alit.tasks.protocol import RESIZE, FeatureExtractor, Task
from alit.tasks.weights import FINE_TUNE, NAMED, SHARED, TIMM, TORCHVISION, TRAIN, TaskModelConfig

Trained = Classifier | DepthNetwork | DualEncoder


def new_network(config: TaskModelConfig, class_names: tuple[str, ...], captions: Sequence[str | None] = ()) -> Trained:
    """Build a network of random weights that predicts `class_names`, meters (depth) or known captions.

    Weights come from torch's global generator: fork and seed it around this call.

    Args:
        config: which network.
        class_names: of the training images.
        captions: of the training images, one each; for captioners only.

    Raises:
        ConfigError: the architecture cannot be trained here, or not on these images.
    """
    if config.weights == FINE_TUNE:
        return _blank_classifier(config, class_names)
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


def initial_network(
    config: TaskModelConfig, class_names: tuple[str, ...], captions: Sequence[str | None] = ()
) -> Trained:
    """Return what training starts from: `new_network`, or published weights with a new last layer for `class_names`.

    Random weights come from torch's global generator: fork and seed it around this call.

    Raises:
        ConfigError: as `new_network`.
        CheckpointError: the published weights are not to be had.
    """
    if config.weights != FINE_TUNE:
        return new_network(config, class_names, captions)
    _check_published(config)
    network = _load_published(config, None)
    assert isinstance(network, Classifier)
    network.set_classes(class_names)
    return network


def _blank_classifier(config: TaskModelConfig, class_names: tuple[str, ...]) -> Classifier:
    """Return the network of a fine-tuned classifier, of random weights."""
    _check_published(config)
    build = BLANK.get(config.architecture)
    if build is None:
        prefix = next(prefix for prefix in CLASSIFIERS if config.architecture.startswith(prefix))
        build = partial(BLANK_OF[prefix], config.architecture.removeprefix(prefix))
    network = build(config.input_size)
    network.set_classes(class_names)
    return network


def _check_published(config: TaskModelConfig) -> None:
    """Refuse to fine-tune a network that has no published weights."""
    if not config.architecture.startswith((TIMM, TORCHVISION)) and config.architecture not in BLANK:
        raise ConfigError(
            f"task model {config.name}: expected {', '.join(BLANK)}, {TIMM}<name> or {TORCHVISION}<name> to fine-tune, "
            f"found {config.architecture}"
        )


def _new_timm_classifier(config: TaskModelConfig, class_names: tuple[str, ...]) -> Classifier:
    require("timm")
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
    """Write model.safetensors and config.json (settings, classes or captions, weight hash, `results`)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "settings": config.model_dump(),
        "started_from": config.started_from,
        "class_names": network.class_names if isinstance(network, Classifier) else None,
        "captions": network.known_captions if isinstance(network, DualEncoder) else None,
        "weights_sha256": weights_sha256(network),
        "results": results,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


def load_trained(folder: Path, config: TaskModelConfig) -> Trained:
    """Load what `save_trained` wrote, on the CPU.

    Raises:
        CheckpointError: the files are missing, broken, or belong to other settings of the same name.
    """
    try:
        content = json.loads((folder / "config.json").read_text())
        weights = read_safetensors(folder / "model.safetensors")
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


PRETRAINED: dict[tuple[str, str], Callable[[int, Path | None], nn.Module]] = {
    **{("classifier", f"efficientnet_lite{size}"): partial(efficientnet_lite, size) for size in (0, 1, 2)},
    **{("features", f"efficientnet_lite{size}"): partial(efficientnet_lite, size) for size in (0, 1, 2)},
    **{("depth", f"depth_anything_v2_{size}"): partial(depth_anything_v2, size) for size in ("small", "base", "large")},
    **{("caption", f"blip_{size}"): partial(blip, size) for size in ("base", "large")},
    ("features", "inception"): lambda input_size, local: reference_inception(local),
    ("features", "lpips_vgg"): lambda input_size, local: lpips_vgg(local),
}
CLASSIFIERS = {TIMM: timm_classifier, TORCHVISION: torchvision_classifier}  # prefix of the architecture -> loader
BLANK_OF = {TIMM: blank_timm_classifier, TORCHVISION: blank_torchvision_classifier}  # the same without weights
BLANK = {f"efficientnet_lite{size}": partial(blank_efficientnet_lite, size) for size in (0, 1, 2)}
RESERVED = {  # word in a name -> the architectures that may have it
    "lpips": ("lpips_vgg",),
    "fid": ("inception",),
    "inception": ("inception",),
    "blip": ("blip_base", "blip_large"),
    "vgg16": ("timm/vgg16", "torchvision/vgg16", "lpips_vgg"),
    "alexnet": ("torchvision/alexnet",),
}


class TaskModels(NamedTuple):
    """The tasks and feature extractors of a sweep."""

    tasks: tuple[Task, ...]  # pixel errors first, then the profile's order
    extractors: tuple[FeatureExtractor, ...]


def build_task_models(configs: Sequence[TaskModelConfig], folder: Path, device: torch.device) -> TaskModels:
    """Build every task and extractor of a profile, frozen, on `device`.

    Args:
        configs: the profile's task models; `task/<name>` refers to one earlier in the list.
        folder: where the stage task_models wrote the trained ones.
        device: where the networks run.

    Raises:
        ConfigError: an unknown architecture, a name used twice, or a name that promises another network.
        CheckpointError: weights that are missing or of another model.
    """
    tasks: list[Task] = [ReconstructionTask()]
    extractors: list[FeatureExtractor] = []
    networks: dict[str, nn.Module] = {}
    if any(config.kind == "depth" for config in configs):
        tasks.append(BlindDepthRules())
    for config in configs:
        _check_name(config, networks)
        network = _load_network(config, folder, networks).to(device).eval().requires_grad_(False)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # faster on a CPU: docs/speed.md
        networks[config.name] = network
        record = {
            "name": config.name,
            "kind": config.kind,
            "architecture": config.architecture,
            "weights": config.weights if config.local_weights is None else f"local: {config.local_weights.name}",
            "started_from": config.started_from,
            "train_on": config.train_on if config.trained_here else None,
            "weights_sha256": weights_sha256(network),
            "input_size": getattr(network, "input_size", None),
            "resize": RESIZE,
        }
        tasks += _tasks_of(config, network, record)
        extractors += _extractors_of(config, network, record)
    return TaskModels(tuple(tasks), tuple(extractors))


def _check_name(config: TaskModelConfig, known: dict[str, nn.Module]) -> None:
    """Refuse a name that is taken, or that names another network than the architecture."""
    if config.name in known:
        raise ConfigError(f"expected task models of different names, found {config.name} twice; rename one")
    if config.name.startswith("in_set_"):
        raise ConfigError(f"task model {config.name}: in_set_ names ranks among a set's own classes; rename it")
    if config.name.startswith("blind_"):
        raise ConfigError(f"task model {config.name}: blind_ names rules that look at no picture; rename it")
    for word, architectures in RESERVED.items():
        if word in config.name.lower().split("_") and config.architecture not in architectures:
            raise ConfigError(
                f"task model {config.name}: the word {word} is kept for {' and '.join(architectures)}, "
                f"found architecture {config.architecture}; rename it"
            )


def _load_network(config: TaskModelConfig, folder: Path, networks: dict[str, nn.Module]) -> nn.Module:
    if config.architecture.startswith(SHARED):
        shared = networks.get(config.architecture.removeprefix(SHARED))
        if not isinstance(shared, Classifier):
            raise ConfigError(
                f"task model {config.name}: expected {SHARED}<name of a classifier earlier in the list>, "
                f"found {config.architecture}"
            )
        return shared
    if config.weights in (TRAIN, FINE_TUNE):
        return load_trained(folder / config.name, config)
    local = config.local_weights
    if local is not None and not local.exists():
        raise ConfigError(
            f"task model {config.name}: expected weights {', '.join(NAMED)} or a local file, found {config.weights}"
        )
    return _load_published(config, local)


def _load_published(config: TaskModelConfig, local: Path | None) -> nn.Module:
    """Return a network with its published weights, or those of a local file."""
    for prefix, load in CLASSIFIERS.items():
        if config.architecture.startswith(prefix) and config.kind in ("classifier", "features"):
            return load(config.architecture.removeprefix(prefix), config.input_size, local)
    if (config.kind, config.architecture) not in PRETRAINED:
        known = sorted({architecture for kind, architecture in PRETRAINED if kind == config.kind})
        raise ConfigError(
            f"task model {config.name}: expected one of {', '.join(known)} as pretrained {config.kind} "
            f"network (or timm/<name>, torchvision/<name>), found {config.architecture}"
        )
    return PRETRAINED[config.kind, config.architecture](config.input_size, local)


def _tasks_of(config: TaskModelConfig, network: nn.Module, record: dict[str, Any]) -> list[Task]:
    if isinstance(network, DepthNetwork):
        return [DepthTask(config.name, network, record)]
    if isinstance(network, Captioner | DualEncoder):
        return [CaptionTask(config.name, network, record)]
    if isinstance(network, LpipsTrunk):
        return [PerceptualTask(config.name, network, record, network.channel_weights)]
    if isinstance(network, Classifier) and config.kind == "classifier":
        return [ClassificationTask(config.name, network, record)]
    if isinstance(network, Classifier):
        return [PerceptualTask(config.name, lambda images: network.features_and_logits(images).maps, record)]
    return []


def _extractors_of(config: TaskModelConfig, network: nn.Module, record: dict[str, Any]) -> list[FeatureExtractor]:
    if config.kind != "features" or isinstance(network, LpipsTrunk):
        return []
    if isinstance(network, Classifier):
        return [ClassifierFeatures(config.name, network, record)]
    return [InceptionFeatures(config.name, network, record)]
