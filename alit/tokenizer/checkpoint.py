"""Checkpoints as folders: config.json, model.safetensors and a model card; on disk or on the Hugging Face hub."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE as WEIGHTS
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from alit.errors import CheckpointError
from alit.files import read_json
from alit.models.base import BaseTokenizer
from alit.models.distillation import TokenizerConfig
from alit.models.hub import fetch_file
from alit.models.loading import is_published, load_published
from alit.models.weights import check_weights, checksum, read_safetensors, weights_digest
from alit.settings import parse_settings
from alit.tokenizer.length_predictor import FOLDER, LengthPredictor, find_length_predictor, load_length_predictor

# How the hub's mixin turns the settings into config.json; `read_checkpoint` reads it.
CODERS: dict[type, tuple[Any, Any]] = {
    TokenizerConfig: (
        lambda config: config.model_dump(mode="json"),
        lambda content: parse_settings(TokenizerConfig, content, source=CONFIG_NAME),
    )
}
BASE = "base."  # what the names of the base tokenizer's tensors begin with
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
UNLICENSED = "Not stated by whoever saved these weights; the code that reads them is Apache-2.0."


class Checkpoint(NamedTuple):
    """What a checkpoint folder holds."""

    config: TokenizerConfig
    weights: dict[str, Tensor]


class HubCheckpoint(nn.Module, PyTorchModelHubMixin, coders=CODERS):
    """A network that is built from its settings alone; `push_to_hub` uploads the folder that `save_pretrained` writes.

    Subclasses pass `coders=CODERS` on.
    """

    base: BaseTokenizer
    bits_per_token: int
    fingerprint: str

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.length_predictor: LengthPredictor | None = None  # no weights of the tokenizer's own

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, map_location: str | torch.device = "cpu", **options: Any
    ) -> Self:
        """Load a checkpoint from a folder or a hub id, in eval mode.

        Args:
            pretrained_model_name_or_path: a folder of `save_pretrained`, or a hub id.
            map_location: the device to load onto.
            options: those of `hf_hub_download`, such as `revision`, `cache_dir`, `token` and `local_files_only`.

        Raises:
            CheckpointError: config.json or the weights are missing, damaged, or do not fit each other.
            ConfigError: config.json has an unknown, missing or impossible setting.
        """
        source = str(pretrained_model_name_or_path)
        checkpoint = with_published_base(read_checkpoint(source, **options))
        tokenizer = cls.with_weights(checkpoint.config, checkpoint.weights, source=source).to(map_location)
        tokenizer.length_predictor = read_length_predictor(source, **options)
        return tokenizer

    @classmethod
    def with_weights(cls, config: TokenizerConfig, weights: Mapping[str, Tensor], *, source: str) -> Self:
        """Build a tokenizer around existing weights, in float32 and eval mode; nothing is drawn at random.

        Raises:
            CheckpointError: a tensor is missing, unknown, or of another shape, or no network can have these settings;
                the message names it and `source`.
        """
        try:
            with torch.device("meta"):
                tokenizer = cls(config)
        except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(f"{source}: networks of these sizes cannot be built: {error}") from error
        check_weights(tokenizer.state_dict(), weights, source)
        tokenizer.to_empty(device="cpu").load_state_dict(weights)
        return tokenizer.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the weights; those of a base tokenizer that is as published are named in config.json, not copied.

        The length predictor is written where it is one of these weights; they may have changed since it was fitted.
        """
        predictor = self.length_predictor
        if predictor is not None and predictor.record.tokenizer == self.fingerprint:
            predictor.save(save_directory / FOLDER)
        if not is_published(self.base):
            return super()._save_pretrained(save_directory)
        own = {name: tensor.contiguous() for name, tensor in self.state_dict().items() if not name.startswith(BASE)}
        save_file(own, save_directory / WEIGHTS, {"format": "pt"})

    def generate_model_card(self, *arguments: Any, **fields: Any) -> ModelCard:
        """Return the README.md that `save_pretrained` and `push_to_hub` write where none is.

        Args:
            arguments: none.
            fields: what they got as `model_card_kwargs`: `license`, `notes` and so on, see `model_card`.
        """
        count = sum(parameter.numel() for parameter in self.parameters())
        return model_card(self.config, parameters=count, bits_per_token=self.bits_per_token, **fields)


def read_checkpoint(model: str, **options: Any) -> Checkpoint:
    """Read a checkpoint from a folder, or from the hub with the options of `hf_hub_download`.

    Raises:
        CheckpointError: there is none, or a file of it is missing or damaged.
        ConfigError: config.json has an unknown, missing or impossible setting.
    """
    config_file, weights_file = (locate_file(model, name, **options) for name in (CONFIG_NAME, WEIGHTS))
    config = parse_settings(TokenizerConfig, read_json(config_file, CheckpointError), source=str(config_file))
    try:
        weights = read_safetensors(weights_file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights_file} cannot be read as weights (truncated?): {error}") from error
    return Checkpoint(config, weights)


def read_length_predictor(model: str, **options: Any) -> LengthPredictor | None:
    """Return the length predictor of a checkpoint, from a folder or from the hub; None where it has none.

    Raises:
        CheckpointError: it is damaged.
    """
    if Path(model).is_dir():
        return find_length_predictor(Path(model) / FOLDER)
    try:
        config_file, _ = (locate_file(model, f"{FOLDER}/{name}", **options) for name in (CONFIG_NAME, WEIGHTS))
    except CheckpointError:  # it is no part of most checkpoints
        return None
    return load_length_predictor(config_file.parent)


def with_published_base(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the weights of its base tokenizer, where it names a published one and holds none.

    Raises:
        CheckpointError: see `alit.models.loading.load_published`.
    """
    config, weights = checkpoint
    if config.base.pretrained is None or any(name.startswith(BASE) for name in weights):
        return checkpoint
    published = load_published(config.base).state_dict()
    return Checkpoint(config, weights | {BASE + name: tensor for name, tensor in published.items()})


def locate_file(model: str, name: str, **options: Any) -> Path:
    """Return a file of a checkpoint; `model` is taken for a hub id unless it begins with a dot or a folder here.

    Raises:
        CheckpointError: there is none.
    """
    if not model:
        raise CheckpointError("expected a checkpoint folder or hub id, found an empty name; is a variable unset?")
    if model[:1] in (".", "~") or Path(Path(model).parts[0]).is_dir():
        path = Path(model) / name
        if not path.is_file():
            raise CheckpointError(f"expected {CONFIG_NAME} and {WEIGHTS} in the folder {model}, found no {name}")
        return path
    expected = f"expected a checkpoint folder or hub id, found none at {model}"
    if not HUB_ID.fullmatch(model):
        raise CheckpointError(f"{expected}: it is neither a folder here nor owner/name")
    instead = f"give a folder with {CONFIG_NAME} and {WEIGHTS} instead"
    return fetch_file(model, name, expected=expected, instead=instead, **options)


def model_card(
    config: TokenizerConfig,
    *,
    parameters: int,
    bits_per_token: int,
    source: str = "path/or/hub-id",
    license: str | None = None,
    license_text: str | None = None,
    notes: str = "",
) -> ModelCard:
    """Return the card that goes with a checkpoint as its README.md.

    Args:
        config: the tokenizer's settings.
        parameters: how many it has.
        bits_per_token: of one latent token.
        source: what to load it from.
        license: the weights' license as the hub spells it, such as "apache-2.0"; None leaves it open.
        license_text: a sentence instead of that name.
        notes: Markdown on training data, steps, errors, whatever a reader should know.
    """
    tags = ["image-tokenization", "adaptive-length", "arxiv:2411.02393"]
    return ModelCard.from_template(
        ModelCardData(license=license, library_name="alit-suite", tags=tags),
        template_str=files("alit.tokenizer").joinpath("card.md").read_text(encoding="utf-8"),
        size=config.image_size,
        rows=[{"length": length, "bits": length * bits_per_token} for length in config.lengths],
        parameters=f"{parameters:,}",
        network=_network(config),
        source=source,
        license=license_text or (f"The weights: {license}. The code: Apache-2.0." if license else UNLICENSED),
        notes=notes,
    )


def _network(config: TokenizerConfig) -> str:
    """Describe the networks in two sentences."""
    base, distillation = config.base, config.distillation
    codes = f"ids of {base.codebook_size} codes" if base.codebook_size else f"{base.code_size} numbers each"
    latents = (
        f"ids of {distillation.latent_codebook_size} codes of {distillation.latent_code_size} numbers"
        if distillation.quantize
        else f"{distillation.latent_code_size} continuous numbers each"
    )
    name = base.kind.upper()
    if base.pretrained is not None:
        name = f"{base.pretrained} as published (not part of this checkpoint unless it was trained on)"
    return (
        f"Base tokenizer: {name}, {config.image_tokens} image tokens, {codes}. "
        f"Distillation: {distillation.layers} + {distillation.layers} layers of width {distillation.width} with "
        f"{distillation.heads} heads, {distillation.iterations} iterations of {distillation.tokens_per_iteration} "
        f"latent tokens, {latents}."
    )


class Fingerprint:
    """The digest of one tokenizer, computed again only where its weights have changed.

    Digesting every weight takes longer than encoding an image. Checksums tell in a tenth of the time whether that is
    due. (Tensors' version counters would be free, but fused optimizers and `.data` change weights behind their back.)
    """

    def __init__(self) -> None:
        self._known: tuple[str, str, str] | None = None  # settings, checksum, and the digest that they had

    def __call__(self, settings: str, weights: Mapping[str, Tensor]) -> str:
        """Return 16 hexadecimal digits for settings and weights."""
        found = checksum(weights)
        if self._known is None or self._known[:2] != (settings, found):
            self._known = settings, found, weights_digest(settings, weights)
        return self._known[2]
