"""Files under published tensor names: what they hold, and the names of a base tokenizer's tensors.

The VQGAN is that of MaskGIT as MAGE publishes it, in the layout of taming-transformers; muse and TiTok name some parts
otherwise. The VAE has the layout of latent diffusion (LDM), which MAR's KL-16 shares.
"""

import argparse
import re
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import safetensors
import torch
from torch import Tensor

from alit.errors import CheckpointError
from alit.files import is_utf8
from alit.models.base import BaseTokenizerConfig
from alit.models.weights import read_safetensors

LAYOUTS = ("ema", "model_ema", "model", "state_dict")  # where a dict holds the tensors; averaged weights first
WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # of a network in DistributedDataParallel or torch.compile


def _plain_types() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what may stand beside tensors: making one of these runs no code that the file chooses.

    Paths become pure ones, which every system can make; numpy has renamed its modules.
    """
    paths = {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath}
    named = [(kind, f"{module}.{name}") for name, kind in paths.items() for module in ("pathlib", "pathlib._local")]
    scalar = np.float64(0).__reduce__()[0]
    assert callable(scalar)
    named += [(scalar, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")]
    kinds = {type(np.dtype(code)) for code in f"?{np.typecodes['AllInteger']}{np.typecodes['AllFloat']}"}
    return [argparse.Namespace, np.dtype, *kinds, *named]


def read_file(path: Path) -> dict[str, Any]:
    """Return the content of a file; tensors of a pickle stay on disk until they are used."""
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint at {path}, found none")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        named = is_utf8(path)  # torch, too, takes no other path
        with torch.serialization.safe_globals(_plain_types()):
            file = path if named else BytesIO(path.read_bytes())
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=named and zipfile.is_zipfile(path))
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, safetensors.SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} cannot be read as a checkpoint (truncated?): {reason}") from error
    except Exception as error:  # torch raises pickle.UnpicklingError subclasses for anything outside the allow-list
        kind = re.search(r"GLOBAL (\S+)", str(error))
        found = f"{kind[1]}, which could run code" if kind else "content of an unknown kind"
        raise CheckpointError(
            f"{path}: expected tensors and plain settings, found {found}; refused: save the file again without it"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, found a {type(content).__name__}")
    return content


def state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by the names that they have in the network itself."""
    found = next((content[key] for key in LAYOUTS if isinstance(content.get(key), dict)), content)
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        others = sorted({type(value).__name__ for value in found.values() if not isinstance(value, Tensor)})
        raise CheckpointError(
            f"{path}: expected tensors under one of {', '.join(LAYOUTS)}, or a plain state dict of tensors, found "
            f"{', '.join(others) or 'an empty one'}"
        )
    return {WRAPPERS.sub("", str(name)): tensor for name, tensor in found.items()}


class Rule(NamedTuple):
    """Renames one family of the authors' tensors."""

    pattern: str
    replacement: str


_BASE = [
    Rule(r"^quantize\.embedding\.weight$", "quantizer.embedding"),
    Rule(r"^quant_conv\.", "moments."),
    Rule(r"^post_quant_conv\.", "latents_in."),
    Rule(r"\.upsample_conv\.", ".upsample.conv."),  # MaskGIT as ported to torch by muse and TiTok
    Rule(r"\.mid\.0\.", ".mid.block_1."),
    Rule(r"\.mid\.1\.", ".mid.block_2."),
    Rule(r"\.nin_shortcut\.", ".shortcut."),
    Rule(r"\.downsample\.conv\.", ".downsample_conv."),
]
_ATTENTION = {"q": "query", "k": "key", "v": "value", "proj_out": "out", "norm": "norm"}


def rename_base(name: str, base: BaseTokenizerConfig) -> str:
    """Translate the published name of a base tokenizer's tensor; our decoder levels run in the order of computation."""
    for rule in _BASE:
        name = re.sub(rule.pattern, rule.replacement, name)
    last = len(base.multipliers) - 1
    attention = base.kind == "vae"

    def level(match: re.Match[str]) -> str:
        side, index, kind, position = match["side"], int(match["index"]), match["kind"], match["position"]
        ours = index if side == "encoder" else last - index
        if kind in ("downsample_conv", "upsample"):
            return f"{side}.{kind.split('_')[0].split('sample')[0]}samples.{ours}.conv."
        doubled = attention and base.level_attention and side == "encoder" and index == last
        if position is None or not position.isdecimal():
            return match[0]  # no name of the authors'; reported as unknown
        slot = int(position) * (2 if doubled else 1) + (kind == "attn")
        return f"{side}.levels.{ours}.{slot}."

    pattern = (
        r"^(?P<side>encoder|decoder)\.(?:down|up)\.(?P<index>\d+)\."
        r"(?P<kind>block|attn|downsample_conv|upsample)\.(?P<position>\d+|conv)?\.?"
    )
    name = re.sub(pattern, level, name)
    middle = {"block_1": 0, "attn_1": 1, "block_2": 2 if attention else 1}
    name = re.sub(r"\.mid\.(\w+)\.", lambda m: f".middle.{middle.get(m[1], m[1])}.", name)
    if attention:
        name = re.sub(r"\.(q|k|v|proj_out)\.(weight|bias)$", lambda m: f".{_ATTENTION[m[1]]}.{m[2]}", name)
    return name
