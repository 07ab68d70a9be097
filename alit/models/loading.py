"""Base tokenizers of every kind: built from settings, and loaded from a stage's folder or with published weights."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import torch
from huggingface_hub import hf_hub_download
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from alit.errors import AlitError, CheckpointError, DataError
from alit.models.base import VAE, VQGAN, BaseTokenizer, BaseTokenizerConfig
from alit.models.diffusers_base import DiffusersBase, DiffusersBaseConfig, network_class
from alit.models.hub import first_line, offline_where_unreachable
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE, save_network, weights_sha256
from alit.paths import project_root
from alit.settings import parse_settings

BaseConfig = Annotated[BaseTokenizerConfig | DiffusersBaseConfig, Field(discriminator="kind")]

BASE_TOKENIZERS: dict[str, Any] = {"vqgan": VQGAN, "vae": VAE, "diffusers": DiffusersBase}
DTYPES = {"float16": torch.float16, "float32": torch.float32}
LOCAL_FOLDER = "autoencoders"  # below $ALIT_DATA or data/: local copies of what the hub has
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"


def build_base(config: BaseTokenizerConfig | DiffusersBaseConfig) -> BaseTokenizer:
    """Return the base tokenizer that the settings describe, with random weights.

    Convolutions are laid out with channels last: faster on a CPU in float32 but for the narrowest (docs/speed.md).
    """
    return BASE_TOKENIZERS[config.kind](config).to(memory_format=torch.channels_last)


def load_published(config: DiffusersBaseConfig) -> DiffusersBase:
    """Return a base tokenizer with the published weights that `config.pretrained` names, in float32 and eval mode.

    Its `config` is complete: with the architecture, the scaling of the latents where it was published, and the
    sha256 and the type of the weights. Weights that were recorded as float16 are rounded to it, so that a copy in
    float32 gives the same network.

    Raises:
        CheckpointError: nothing is found under that name, it cannot be read, or its sha256 is another one.
        ConfigError: a stated size is not the published one.
    """
    folder = find_published(config.pretrained)
    try:
        published = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        dtype = config.dtype or _stored_dtype(folder / DIFFUSERS_WEIGHTS)
        filled = config.filled_in(published)
        base = DiffusersBase(filled)
        base.network = _load_network(folder, base.kind)
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"expected an autoencoder of diffusers in {folder}: {first_line(error)}") from error
    sha256 = weights_sha256(base.to(DTYPES[dtype]))
    if config.sha256 not in (None, sha256):
        raise CheckpointError(
            f"expected weights of {config.pretrained} with the sha256 {config.sha256}, found {sha256} in {folder}; "
            "put back the copy that this base was recorded with"
        )
    base.config = filled.model_copy(update={"sha256": sha256, "dtype": dtype})
    return base.float().to(memory_format=torch.channels_last).eval()


def _load_network(folder: Path, name: str) -> Any:
    """Return a network of diffusers with all its weights, none of them random."""
    options: dict[str, Any] = {"local_files_only": True, "low_cpu_mem_usage": False, "output_loading_info": True}
    kind = network_class(name)
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # older config.json files name settings that the class has no longer
    try:
        network, report = kind.from_pretrained(folder, **options)
    finally:
        logging.set_verbosity(verbosity)
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[fault]:
            raise CheckpointError(f"{folder}: {fault.replace('_', ' ')}: {sorted(map(str, report[fault]))[0]}")
    return network


def _stored_dtype(path: Path) -> str:
    """Return the type of a file's weights: float16 if all are, else float32, which holds any other."""
    with safe_open(path, framework="pt") as file:
        types = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
    return "float16" if types == {"F16"} else "float32"


def find_published(pretrained: str) -> Path:
    """Return the folder of a published autoencoder: config.json and diffusion_pytorch_model.safetensors.

    Looked up in this order: a folder of that name; the copy below `$ALIT_DATA/autoencoders` or `data/autoencoders` that
    is named as the hub id without its owner; the hub's cache; the hub.

    Args:
        pretrained: a folder, or a hub id `owner/name`, or `owner/name/folder` where the autoencoder is part of more.

    Raises:
        CheckpointError: it is in none of these places; the message says where to put it.
    """
    local = local_copy(pretrained)
    if local is not None:
        return local
    owner, _, rest = pretrained.partition("/")
    name, _, subfolder = rest.partition("/")
    reason = "not a hub id owner/name"
    if name and not pretrained.startswith((".", "/", "~")):
        with offline_where_unreachable() as fault:
            try:
                return _from_hub(f"{owner}/{name}", subfolder)
            except Exception as error:  # those of the hub's client and of whatever speaks HTTP for it
                reason = f"the hub cannot be reached: {fault}" if fault else first_line(error)
    place = Path("data") / LOCAL_FOLDER / (rest or pretrained)
    raise CheckpointError(
        f"expected the base tokenizer {pretrained} as a folder, below $ALIT_DATA/{LOCAL_FOLDER} or "
        f"data/{LOCAL_FOLDER}, in the hub's cache or on the hub, found none ({reason}); put its {CONFIG_FILE} and "
        f"{DIFFUSERS_WEIGHTS} into {place}, or run once with network access"
    )


def local_copy(pretrained: str) -> Path | None:
    """Return the folder that holds a published autoencoder on this machine, outside the hub's cache, if any does."""
    given = Path(pretrained).expanduser()
    below = Path(*given.parts[1:]) if len(given.parts) > 1 and not given.is_absolute() else Path(given.name)
    names = (below, Path(given.name))
    copies = (root / LOCAL_FOLDER / name for root in _data_roots() for name in names)
    return next((place for place in (given, *copies) if (place / CONFIG_FILE).is_file()), None)


def _data_roots() -> list[Path]:
    """Return the folders that may hold data: `$ALIT_DATA`, and `data/` of the checkout or of the working directory."""
    named = os.environ.get("ALIT_DATA")
    try:
        project = project_root() / "data"
    except DataError:  # an installed package, outside any checkout
        project = Path("data")
    return [*([Path(named)] if named else []), project]


def _from_hub(repository: str, subfolder: str) -> Path:
    """Return the folder of the hub's cache that holds an autoencoder, after a download where that is needed."""

    def fetch(*, local_files_only: bool) -> Path:
        options: dict[str, Any] = {"subfolder": subfolder or None, "local_files_only": local_files_only}
        hf_hub_download(repository, CONFIG_FILE, **options)
        return Path(hf_hub_download(repository, DIFFUSERS_WEIGHTS, **options)).parent

    try:
        return fetch(local_files_only=True)
    except (OSError, ValueError):
        return fetch(local_files_only=False)


def is_published(base: BaseTokenizer) -> bool:
    """Whether a base tokenizer has the weights of the one that its settings name, up to its own precision."""
    if base.config.pretrained is None or base.config.sha256 is None:
        return False
    published = load_published(base.config).state_dict()
    own = base.state_dict()
    return all(torch.equal(tensor.cpu(), published[name].to(tensor.dtype)) for name, tensor in own.items())


def save_base(base: BaseTokenizer, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` into an existing folder; published weights are named, not copied."""
    save_network(base, base.config, folder)
    if is_published(base):
        save_file({}, folder / WEIGHTS_FILE, {"base": f"{base.config.pretrained} {base.config.sha256}"})


def load_base(folder: Path) -> BaseTokenizer:
    """Return the base tokenizer that `save_base` wrote.

    Raises:
        CheckpointError: the folder does not hold one, or its weights are damaged or of another network; published
            weights that it names are not found.
    """
    try:
        content = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"expected a base tokenizer in {folder}: {error}; run stage base") from error
    kind: Any = DiffusersBaseConfig if content.get("kind") == "diffusers" else BaseTokenizerConfig
    config = parse_settings(kind, content, source=str(folder / CONFIG_FILE))
    path = folder / WEIGHTS_FILE
    try:
        weights = load_file(path)
        if not weights and config.pretrained is not None:
            return load_published(config)
        base = build_base(config)
        base.load_state_dict(weights)
    except AlitError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"expected weights of this configuration in {path}: {error}; run the stage again"
        ) from error
    return base
