"""From the profile's list of task models to the tasks and feature extractors of a sweep.

kind        architecture                       weights     gives
classifier  small_cnn, timm/<name>             train       class_rank_<model>
            timm/<name>, efficientnet_lite0|1|2  pretrained
depth       small_unet, unet                   train       depth_error_<model>, depth_rank_agreement_<model>,
                                                          depth_true_error_<model>
            depth_anything_v2_small|base|large pretrained  depth_error_<model>, depth_rank_agreement_<model>
caption     small_dual_encoder, dual_encoder   train       caption_score_<model>, caption_true_score_<model>
            blip_base|large                    pretrained  caption_score_<model>, caption_true_score_<model>
features    task/<name of a classifier above>  as there    perceptual_<model>, features_<model>
            timm/<name>, efficientnet_lite0|1|2  pretrained  perceptual_<model>, features_<model>
            inception                          pretrained  features_<model> (the only ones to call FID)
            lpips_vgg                          pretrained  perceptual_<model> (the only one to call LPIPS)
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from alit.config.s_tasks import TaskModelConfig
from alit.errors import ConfigError
from alit.tasks.captioning import Captioner, CaptionTask
from alit.tasks.classification import ClassificationTask, Classifier
from alit.tasks.depth import DepthNetwork, DepthTask
from alit.tasks.dual_encoder import DualEncoder
from alit.tasks.features import ClassifierFeatures, InceptionFeatures, reference_inception
from alit.tasks.images import RESIZE
from alit.tasks.perceptual import PerceptualTask
from alit.tasks.pretrained import blip, depth_anything_v2, efficientnet_lite, timm_classifier
from alit.tasks.protocol import FeatureExtractor, Task
from alit.tasks.provenance import weights_sha256
from alit.tasks.reconstruction import ReconstructionTask
from alit.tasks.trained import SHARED, TIMM, load_trained
from alit.tasks.trunks import LpipsTrunk, build_trunk

PRETRAINED: dict[tuple[str, str], Callable[[int], nn.Module]] = {
    **{("classifier", f"efficientnet_lite{size}"): partial(efficientnet_lite, size) for size in (0, 1, 2)},
    **{("features", f"efficientnet_lite{size}"): partial(efficientnet_lite, size) for size in (0, 1, 2)},
    **{("depth", f"depth_anything_v2_{size}"): partial(depth_anything_v2, size) for size in ("small", "base", "large")},
    **{("caption", f"blip_{size}"): partial(blip, size) for size in ("base", "large")},
    ("features", "inception"): lambda input_size: reference_inception(),
    ("features", "lpips_vgg"): lambda input_size: build_trunk("lpips_vgg"),
}
RESERVED = {
    "lpips": ("lpips_vgg",),
    "fid": ("inception",),
    "inception": ("inception",),
    "blip": ("blip_base", "blip_large"),
}


class TaskModels(NamedTuple):
    """All that looks at an image in a sweep."""

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
    for config in configs:
        _check_name(config, networks)
        network = _load_network(config, folder, networks).to(device).eval().requires_grad_(False)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # faster on a CPU: docs/speed.md
        networks[config.name] = network
        record = {
            "name": config.name,
            "kind": config.kind,
            "architecture": config.architecture,
            "weights": config.weights,
            "weights_sha256": weights_sha256(network),
            "input_size": getattr(network, "input_size", None),
            "resize": RESIZE,
        }
        tasks += _tasks_of(config, network, record)
        extractors += _extractors_of(config, network, record)
    return TaskModels(tuple(tasks), tuple(extractors))


def _check_name(config: TaskModelConfig, known: dict[str, nn.Module]) -> None:
    """Refuse names that are taken, or that would pass one network off as another (DESIGN: honest names)."""
    if config.name in known:
        raise ConfigError(f"expected task models of different names, found {config.name} twice; rename one")
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
    if config.weights == "train":
        return load_trained(folder / config.name, config)
    if config.architecture.startswith(TIMM) and config.kind in ("classifier", "features"):
        return timm_classifier(config.architecture.removeprefix(TIMM), config.input_size)
    if (config.kind, config.architecture) not in PRETRAINED:
        known = sorted({architecture for kind, architecture in PRETRAINED if kind == config.kind})
        raise ConfigError(
            f"task model {config.name}: expected one of {', '.join(known)} as pretrained {config.kind} "
            f"network (or timm/<name>), found {config.architecture}"
        )
    return PRETRAINED[config.kind, config.architecture](config.input_size)


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
        return [PerceptualTask(config.name, lambda images: network.look(images).maps, record)]
    return []


def _extractors_of(config: TaskModelConfig, network: nn.Module, record: dict[str, Any]) -> list[FeatureExtractor]:
    if config.kind != "features" or isinstance(network, LpipsTrunk):
        return []
    if isinstance(network, Classifier):
        return [ClassifierFeatures(config.name, network, record)]
    return [InceptionFeatures(config.name, network, record)]
