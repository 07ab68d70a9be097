"""Base tokenizers of every kind: built from settings, and loaded from a stage's folder or with published weights."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from huggingface_hub import hf_hub_download
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from alit.errors import AlitError, CheckpointError, DataError
from alit.files import read_json
from alit.models.base import VAE, VQGAN, BaseTokenizer, BaseTokenizerConfig
from alit.models.diffusers_base import DiffusersBase, DiffusersBaseConfig, network_class
from alit.models.hub import first_line, offline_where_unreachable
from alit.models.published_layout import read_file, rename_base, state_dict
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE, check_weights, read_safetensors, save_network, weights_sha256
from alit.paths import project_root
from alit.settings import parse_settings

BaseConfig = Annotated[BaseTokenizerConfig | DiffusersBaseConfig, Field(discriminator="kind")]

BASE_TOKENIZERS: dict[str, Any] = {"vqgan": VQGAN, "vae": VAE, "diffusers": DiffusersBase}
DTYPES = {"float16": torch.float16, "float32": torch.float32}
LOCAL_FOLDER = "autoencoders"  # below $ALIT_DATA or data/: local copies of what the hub has
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
DIFFUSERS_FILES = (CONFIG_FILE, DIFFUSERS_WEIGHTS)
WEIGHTS_SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
LOSSES = ("loss.", "discriminator.")  # networks that published files of base tokenizers hold beside them


def build_base(config: BaseTokenizerConfig | DiffusersBaseConfig) -> BaseTokenizer:
    """Return the base tokenizer that the settings describe, with random weights.

    Convolutions are laid out with channels last: faster on a CPU in float32 but for the narrowest (docs/speed.md).
    """
    return BASE_TOKENIZERS[config.kind](config).to(memory_format=torch.channels_last)


def load_published(config: BaseTokenizerConfig | DiffusersBaseConfig) -> BaseTokenizer:
    """Return a base tokenizer with the published weights that `config.pretrained` names, in float32 and eval mode.

    Its `config` is complete: with the sha256 and the type of the weights, and for an autoencoder of diffusers with its
    architecture and the scaling of its latents where that was published. Weights that were recorded as float16 are
    rounded to it, so that a copy in float32 gives the same network.

    Raises:
        CheckpointError: nothing is found under that name, it cannot be read, it is another network than the settings
            say, or its sha256 is another one.
        ConfigError: a size of an autoencoder of diffusers is stated otherwise than published.
    """
    assert config.pretrained is not None
    if isinstance(config, DiffusersBaseConfig):
        place = find_published(config.pretrained, DIFFUSERS_FILES)
        base, stored = _load_diffusers(config, place)
    else:
        place = _weights_file(find_published(config.pretrained, ()))
        base, stored = _load_convolutional(config, place)
    dtype = config.dtype or stored
    sha256 = weights_sha256(base.to(DTYPES[dtype]))
    if config.sha256 not in (None, sha256):
        raise CheckpointError(
            f"expected weights of {config.pretrained} with the sha256 {config.sha256}, found {sha256} in {place}; "
            "put back the copy that this base was recorded with"
        )
    base.config = base.config.model_copy(update={"sha256": sha256, "dtype": dtype})
    return base.float().to(memory_format=torch.channels_last).eval()


def _load_convolutional(config: BaseTokenizerConfig, path: Path) -> tuple[BaseTokenizer, str]:
    """Return one of our own networks with the tensors of a published file, and the type that they have there."""
    tensors = state_dict(read_file(path), path)
    renamed = {rename_base(name, config): tensor for name, tensor in tensors.items() if not name.startswith(LOSSES)}
    base = build_base(config)
    check_weights(base.state_dict(), renamed, str(path))
    base.load_state_dict(renamed)
    return base, "float16" if {tensor.dtype for tensor in renamed.values()} == {torch.float16} else "float32"


def _load_diffusers(config: DiffusersBaseConfig, folder: Path) -> tuple[BaseTokenizer, str]:
    """Return an autoencoder of diffusers, none of its weights random, and the type that they have in the folder."""
    try:
        filled = config.filled_in(read_json(folder / CONFIG_FILE, CheckpointError))
        base = DiffusersBase(filled)
        options: dict[str, Any] = {"local_files_only": True, "low_cpu_mem_usage": False, "output_loading_info": True}
        with quiet_diffusers():  # older config.json files name settings that the class has no longer
            base.network, report = network_class(base.kind).from_pretrained(folder, **options)
        with safe_open(folder / DIFFUSERS_WEIGHTS, framework="pt") as file:
            types = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, TypeError, LookupError, AttributeError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"expected an autoencoder of diffusers in {folder}: {first_line(error)}") from error
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[fault]:
            raise CheckpointError(f"{folder}: {fault.replace('_', ' ')}: {sorted(map(str, report[fault]))[0]}")
    return base, "float16" if types == {"F16"} else "float32"


@contextmanager
def quiet_diffusers() -> Iterator[None]:
    """Keep diffusers from warning."""
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def find_published(pretrained: str, files: Sequence[str]) -> Path:
    """Return the file or folder of a published base tokenizer.

    Looked up in this order: a file or folder of that name; the copy below `$ALIT_DATA/autoencoders` or
    `data/autoencoders` that is named as the hub id without its owner; the hub's cache; the hub.

    Args:
        pretrained: a path, or a hub id `owner/name`, followed by `/` and a folder or file where the repository holds
            more.
        files: what the hub's folder has to hold; none where `pretrained` names a file.

    Raises:
        CheckpointError: it is in none of these places; the message says where to put it.
    """
    local = local_copy(pretrained)
    if local is not None:
        return local
    owner, _, rest = pretrained.partition("/")
    name, _, inner = rest.partition("/")
    reason = "not a hub id owner/name"
    if name and not pretrained.startswith((".", "/", "~")):
        with offline_where_unreachable() as fault:
            try:
                paths = [_from_hub(f"{owner}/{name}", "/".join(filter(None, (inner, file)))) for file in files or ("",)]
                return paths[0].parent if files else paths[0]
            except Exception as error:  # those of the hub's client and of whatever speaks HTTP for it
                reason = f"the hub cannot be reached: {fault}" if fault else first_line(error)
    raise CheckpointError(
        f"expected the base tokenizer {pretrained} as a path, below $ALIT_DATA/{LOCAL_FOLDER} or data/{LOCAL_FOLDER}, "
        f"in the hub's cache or on the hub, found none ({reason}); put {' and '.join(files) or 'its file'} at "
        f"data/{LOCAL_FOLDER}/{rest or pretrained}, or run once with network access"
    )


def local_copy(pretrained: str) -> Path | None:
    """Return the file or folder of a published base tokenizer on this machine, outside the hub's cache, if any."""
    given = Path(pretrained).expanduser()
    without_owner = Path(*given.parts[1:]) if len(given.parts) > 1 and not given.is_absolute() else Path(given.name)
    names = (without_owner, Path(given.name))
    copies = (root / LOCAL_FOLDER / name for root in _data_roots() for name in names)
    return next((place for place in (given, *copies) if place.exists()), None)


def _data_roots() -> list[Path]:
    """Return the folders that may hold data: `$ALIT_DATA`, and `data/` of the checkout or of the working directory."""
    named = os.environ.get("ALIT_DATA")
    try:
        project = project_root() / "data"
    except DataError:  # an installed package, outside any checkout
        project = Path("data")
    return [*([Path(named)] if named else []), project]


def _from_hub(repository: str, file: str) -> Path:
    """Return a file of the hub's cache, after a download where that is needed."""
    if not file:
        raise ValueError(f"{repository} names no file in it: owner/name/file")
    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except (OSError, ValueError):
        return Path(hf_hub_download(repository, file))


def _weights_file(place: Path) -> Path:
    """Return the one file of weights in a folder, or the file itself."""
    if place.is_file():
        return place
    found = sorted(path for path in place.iterdir() if path.suffix in WEIGHTS_SUFFIXES)
    if len(found) != 1:
        raise CheckpointError(
            f"expected one file of weights ({', '.join(WEIGHTS_SUFFIXES)}) in {place}, found {len(found)}; "
            "name the file"
        )
    return found[0]


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
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"expected a base tokenizer in {folder}, found none; run stage base")
    content = read_json(folder / CONFIG_FILE, CheckpointError)
    kind: Any = DiffusersBaseConfig if content.get("kind") == "diffusers" else BaseTokenizerConfig
    config = parse_settings(kind, content, source=str(folder / CONFIG_FILE))
    path = folder / WEIGHTS_FILE
    try:
        weights = read_safetensors(path)
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
