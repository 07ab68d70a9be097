"""Open any checkpoint of an adaptive tokenizer: a folder, a hub id, or a file under the authors' tensor names."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from alit.errors import CheckpointError
from alit.files import file_sha256
from alit.models.base import ORIGIN
from alit.models.diffusers_base import FILLED_IN
from alit.models.distillation import TokenizerConfig
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE
from alit.settings import flat
from alit.tokenizer.checkpoint import locate_file
from alit.tokenizer.origin import Origin, read_origin
from alit.tokenizer.published import read_published
from alit.tokenizer.tokenizer import AdaptiveTokenizer

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FILES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
FORMS = "a folder of save_pretrained, a hub id (owner/name), or the authors' .pth file"


class OpenedCheckpoint(NamedTuple):
    """A tokenizer in eval mode, with where it comes from."""

    tokenizer: AdaptiveTokenizer
    origin: Origin
    folder: Path | None  # of a checkpoint on this machine: it may hold more than the tokenizer, such as logs


def open_checkpoint(source: str, root: Path, *, heads: int | None = None) -> OpenedCheckpoint:
    """Open a checkpoint, whatever its form.

    Args:
        source: a folder of `save_pretrained`, a hub id, or a file that `load_published` reads.
        root: what a relative path is relative to.
        heads: attention heads, for a file of the authors' whose width and layers are no published size.

    Raises:
        CheckpointError: there is none, or it is damaged or of another model; the message names its place.
        ConfigError: its config.json has an unknown, missing or impossible setting.
    """
    path = root / Path(source).expanduser()
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise CheckpointError(f"expected {CONFIG_FILE} and {WEIGHTS_FILE} in {path}, found no {CONFIG_FILE}")
        tokenizer = AdaptiveTokenizer.from_pretrained(path.resolve())
        return OpenedCheckpoint(tokenizer, _origin_of_folder(path), path)
    if path.is_file():
        return open_file(path, heads=heads)
    is_path = source[:1] in ("/", ".", "~") or path.suffix in FILES or (root / Path(source).parts[0]).is_dir()
    if is_path or not HUB_ID.fullmatch(source):
        raise CheckpointError(f"expected a checkpoint at {path}, found none; it may be {FORMS}")
    tokenizer = AdaptiveTokenizer.from_pretrained(source)
    digest = file_sha256(locate_file(source, WEIGHTS_FILE))
    return OpenedCheckpoint(tokenizer, Origin(checkpoint=source, sha256=digest), None)


def open_file(path: Path, *, heads: int | None = None) -> OpenedCheckpoint:
    """Open a file under the authors' tensor names; see `alit.tokenizer.published.load_published`."""
    published = read_published(path, heads=heads)
    trained = None if published.epoch is None else f"to epoch {published.epoch} by the file's own record"
    origin = Origin(checkpoint=path.name, sha256=file_sha256(path), converted_from=path.name, trained=trained)
    return OpenedCheckpoint(published.tokenizer, origin, None)


def _origin_of_folder(folder: Path) -> Origin:
    """Return what is known of a folder's weights: from its own record, or from the card of a release (zoo/)."""
    digest, known = file_sha256(folder / WEIGHTS_FILE), read_origin(folder)
    if known is not None:
        return known.model_copy(update={"checkpoint": folder.resolve().name, "sha256": digest})
    trained = None
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):  # none, or a card of another tool
        content = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        trained = f"by profile {content['profile']} of this suite at commit {content['commit']}, on {content['data']}"
    return Origin(checkpoint=folder.resolve().name, sha256=digest, trained=trained)


def require_same_networks(expected: TokenizerConfig, found: TokenizerConfig, source: str) -> None:
    """Check that a checkpoint has the networks that a profile names; keys without effect may differ.

    So may those of a published base that the profile leaves open, for stage `base` to fill in.

    Raises:
        CheckpointError: the first key that differs, with both values.
    """
    ours, theirs = (flat(effective_settings(config)) for config in (expected, found))
    left_open = {f"base.{key}" for key in FILLED_IN if getattr(expected.base, key, "") is None}
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key) and ".".join(key.split(".")[:2]) not in left_open:
            raise CheckpointError(
                f"{source}: expected tokenizer.{key} {ours.get(key)} as in the profile, found {theirs.get(key)}; make "
                "the two agree, or write tokenizer: null to take the networks as the checkpoint has them"
            )


def effective_settings(config: TokenizerConfig) -> dict[str, Any]:
    """Return the settings of a tokenizer without those that its kind of base and prediction do not read."""
    content = config.model_dump(mode="json")
    base, distillation = content["base"], content["distillation"]
    unread = {
        "vqgan": ("latent_scale", "sample_posterior", "rescale_decode", "level_attention", *ORIGIN),
        "vae": ("codebook_size", "unit_codes", *ORIGIN),
    }
    for key in unread.get(config.base.kind, ()):
        base.pop(key, None)
    if config.distillation.prediction != "similarity":
        del distillation["similarity_scale"]
    if not config.distillation.quantize:
        del distillation["latent_codebook_size"]
    return content
