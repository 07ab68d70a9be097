"""Other tokenizers behind the protocol: image codecs, the base tokenizer alone, checkpoints and classes by name.

Published tokenizers of others have a file each; what each needs is imported when it is used.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from einops import rearrange
from PIL import Image, features
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from alit.errors import CheckpointError, ConfigError
from alit.files import read_json
from alit.models.base import BaseTokenizer
from alit.models.loading import find_published, load_base, local_copy
from alit.models.weights import CONFIG_FILE
from alit.paths import TARGET_FILE, TRAINING
from alit.settings import FolderName, Settings, parse_settings
from alit.tokenizer.adapters.autoencoder import CLASS_KEY, AutoencoderTokenizer
from alit.tokenizer.opening import HUB_ID
from alit.tokenizer.protocol import (
    Reconstruction,
    Tokenizer,
    TokenizerOptions,
    bits_per_id,
    bits_per_image,
    require_protocol,
)
from alit.tokenizer.tokenizer import AdaptiveTokenizer

Format = Literal["jpeg", "webp", "avif"]
QUALITIES = (1, 5, 10, 20, 40, 60, 80, 95)


class CodecTokenizer:
    """JPEG, WebP or AVIF by Pillow: the classical anchor of rate plots, and the shortest example of the protocol.

    A codec has no tokens: its "lengths" are quality settings, ordered from the cheapest, and plots put bits on the x
    axis. Bits are those of the whole file, header included.
    """

    entropy_coded = True  # by the codec itself: no model of ids makes its files smaller

    def __init__(self, image_format: Format, *, image_size: int, qualities: tuple[int, ...] = QUALITIES) -> None:
        """Choose the codec.

        Args:
            image_format: what Pillow writes; AVIF needs a Pillow built with it.
            image_size: pixels per side of the images.
            qualities: ascending settings between 0 and 100; each counts as one "length".

        Raises:
            ConfigError: Pillow cannot write the format, or the qualities do not ascend within [0, 100].
        """
        if image_format in ("webp", "avif") and not features.check(image_format):
            raise ConfigError(
                f"this Pillow cannot write {image_format}; install a Pillow wheel of version 11.3 or newer"
            )
        if list(qualities) != sorted(set(qualities)) or not all(0 <= quality <= 100 for quality in qualities):
            raise ConfigError(f"expected ascending qualities between 0 and 100, found {qualities}")
        self.name: str = image_format
        self.image_size = image_size
        self.lengths = qualities

    @property
    def base_tokens(self) -> int:
        """The highest quality setting."""
        return self.lengths[-1]

    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield images (b, 3, h, w) in [0, 1], rounded to 8 bits, compressed and decompressed at each quality."""
        pixels = rearrange((images * 255).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()
        for quality in self.lengths:
            files = [compress(image, self.name, quality) for image in pixels]
            decoded = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
            bits = torch.tensor([8.0 * len(file) for file in files])
            rebuilt = rearrange(torch.from_numpy(decoded), "b h w c -> b c h w").float() / 255
            yield Reconstruction(quality, bits, rebuilt.to(images.device), tokens=torch.full_like(bits, torch.nan))


def compress(image: np.ndarray, image_format: str, quality: int) -> bytes:
    """Return the file of one 8-bit RGB image (h, w, 3)."""
    target = io.BytesIO()
    Image.fromarray(image).save(target, image_format, quality=quality)
    return target.getvalue()


class GridTokenizer(nn.Module):
    """A base tokenizer by itself: every image token, one length. It is what adaptive lengths are distilled from."""

    def __init__(self, base: BaseTokenizer, image_size: int) -> None:
        super().__init__()
        self.base = base
        self.image_size = image_size

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.base.config.kind

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of image tokens, alone."""
        return ((self.image_size // self.base.config.patch) ** 2,)

    @property
    def base_tokens(self) -> int:
        """The number of image tokens."""
        return self.lengths[0]

    @property
    def codebook_size(self) -> int | None:
        """Number of codes of the base tokenizer; None when continuous."""
        return self.base.config.codebook_size

    @property
    def bits_per_token(self) -> int:
        """Bits of one image token: an id's, or 32 a number when continuous."""
        size = self.codebook_size
        return 32 * self.base.config.code_size if size is None else bits_per_id(size)

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield the reconstruction of images (b, 3, h, w) in [0, 1] from all image tokens."""
        bits = bits_per_image(images, self.lengths[0] * self.bits_per_token)
        tokens = self.base.encode(images)
        rebuilt = self.base.decode(tokens.codes)
        yield Reconstruction(self.lengths[0], bits, rebuilt.clamp(0, 1), tokens.ids)


def _no_training(name: str) -> str:
    if name.startswith(TRAINING):
        raise ValueError(f"expected a name that does not begin with {TRAINING}, as those of trainings do")
    return name


def _known_options(options: dict[str, Any]) -> dict[str, Any]:
    try:
        parse_settings(TokenizerOptions, options, source="options")
    except ConfigError as error:  # in the profile's name, before anything is loaded
        raise ValueError(str(error)) from None
    return options


class TargetConfig(Settings):
    """A tokenizer by name: whatever offers `alit.tokenizer.protocol.Tokenizer`."""

    target: str  # a checkpoint folder below runs/<profile>/, "module:Class" or a hub id; see `load_tokenizer`
    arguments: dict[str, Any] = Field(default_factory=dict)  # keyword arguments of the class; empty for a checkpoint
    # What it does not say of itself, or says otherwise: keys of `TokenizerOptions`.
    options: Annotated[dict[str, Any], AfterValidator(_known_options)] = Field(default_factory=dict)


class BaselineConfig(TargetConfig):
    """A tokenizer that is measured beside the profile's own."""

    # Its folder below runs/<profile>/baselines/, and its name in tables; no training's.
    name: Annotated[FolderName, AfterValidator(_no_training)]


class TrainingConfig(Settings):
    """Another training of the profile's own tokenizer: the same recipe and data, and another seed."""

    seed: int
    target: str  # a checkpoint folder below the checkout (`zoo/<name>`) or below runs/<profile>/

    @property
    def name(self) -> str:
        """Its folder below runs/<profile>/baselines/."""
        return f"{TRAINING}{self.seed}"


class BaselinesConfig(Settings):
    """The tokenizers that are measured in the same way as the profile's own."""

    sets: tuple[str, ...]  # the evaluation sets that they are swept over
    tokenizers: tuple[BaselineConfig, ...]
    trainings: tuple[TrainingConfig, ...] = ()  # swept over all sets: claims are then about several trainings


def write_target(named: TargetConfig, folder: Path) -> None:
    """Let a new folder stand for a tokenizer by name, as a checkpoint's folder does for one with weights."""
    folder.mkdir(parents=True)
    (folder / TARGET_FILE).write_text(json.dumps(named.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def read_target(folder: Path) -> TargetConfig:
    """Read what `write_target` wrote."""
    path = folder / TARGET_FILE
    return parse_settings(TargetConfig, read_json(path, CheckpointError), source=str(path))


def load_tokenizer(
    target: str,
    arguments: Mapping[str, Any],
    *,
    folder: Path,
    image_size: int,
    device: torch.device,
    options: Mapping[str, Any] | None = None,
) -> Tokenizer:
    """Return a tokenizer on `device`, networks in eval mode.

    Args:
        target: a checkpoint folder, "module:Class" (any callable) of a module that Python finds, or a hub id.
        arguments: keyword arguments of that class, or of a published autoencoder's adapter.
        folder: what a relative checkpoint folder is relative to; `runs/<profile>`.
        image_size: pixels per side, for checkpoints of a base tokenizer, which do not say.
        device: where networks run.
        options: what the tokenizer is to say of itself, as attributes; see `TokenizerOptions`.

    Raises:
        ConfigError: no such folder, module or class, arguments that it refuses, or a member of
            `alit.tokenizer.protocol.Tokenizer` that it lacks.
        CheckpointError: a folder or a hub's repository without a checkpoint that can be read.
    """
    if ":" in target:
        tokenizer: Any = _call(target, arguments)
    elif (folder / target / TARGET_FILE).is_file():
        named = read_target(folder / target)
        options = {**named.options, **(options or {})}
        tokenizer = load_tokenizer(
            named.target, named.arguments, folder=folder, image_size=image_size, device=device, options=options
        )
    elif (folder / target).is_dir():
        tokenizer = _load_checkpoint(folder / target, str(folder / target), arguments, image_size)
    elif HUB_ID.fullmatch(target) or local_copy(target) is not None:
        tokenizer = _load_checkpoint(find_published(target, (CONFIG_FILE,)), target, arguments, image_size)
    else:
        raise ConfigError(
            f"expected a tokenizer as module:Class, a checkpoint folder below {folder} or a hub id, found {target}; "
            "a class in tokenizer.py beside dvc.yaml is tokenizer:Class"
        )
    for name, value in (options or {}).items():
        setattr(tokenizer, name, value)
    require_protocol(tokenizer, target)
    return cast(Tokenizer, tokenizer.to(device).eval() if isinstance(tokenizer, nn.Module) else tokenizer)


def _call(target: str, arguments: Mapping[str, Any]) -> Any:
    try:
        make = resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected a tokenizer class at {target}, found none: {error}") from error
    return _make(make, target, arguments)


def _make(make: Any, target: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return make(**arguments)
    except TypeError as error:
        raise ConfigError(f"{target} cannot be made with the arguments {dict(arguments)}: {error}") from error


def _load_checkpoint(folder: Path, source: str, arguments: Mapping[str, Any], image_size: int) -> Tokenizer:
    """Load what a folder holds: an adaptive tokenizer, a base tokenizer alone, or an autoencoder of diffusers.

    Args:
        folder: with its config.json.
        source: the folder, or the hub id that it is a copy of.
        arguments: of the adapter, for an autoencoder of diffusers.
        image_size: pixels per side, where the folder does not say.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"expected a checkpoint with {CONFIG_FILE} in {folder}, found none")
    content = read_json(folder / CONFIG_FILE, CheckpointError)
    if CLASS_KEY in content:
        own = {"image_size": image_size, **arguments, "pretrained": source}
        return _make(AutoencoderTokenizer, source, own)
    if "distillation" in content:
        return AdaptiveTokenizer.from_pretrained(source)
    return GridTokenizer(load_base(folder), image_size)
