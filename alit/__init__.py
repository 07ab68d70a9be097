"""Adaptive length image tokenization: encode images into as many tokens as they need, and measure how many that is."""

import os
from typing import TYPE_CHECKING, Any

# OpenMP reads this when torch is imported: so import alit first, or set it yourself. Threads that spin while they wait
# take cores from those that they wait for where cores are shared: encoding took 14 times as long (docs/lab-log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from alit.data.images import load_images
    from alit.tokenizer.encoding import CodeLoss, ReconstructionLoss
    from alit.tokenizer.published import load_published
    from alit.tokenizer.tokenizer import AdaptiveTokenizer
    from alit.tokenizer.tokens import TokenSet

_HOME = {
    "AdaptiveTokenizer": "alit.tokenizer.tokenizer",
    "CodeLoss": "alit.tokenizer.encoding",
    "ReconstructionLoss": "alit.tokenizer.encoding",
    "TokenSet": "alit.tokenizer.tokens",
    "load_images": "alit.data.images",
    "load_published": "alit.tokenizer.published",
}

__all__ = ["AdaptiveTokenizer", "CodeLoss", "ReconstructionLoss", "TokenSet", "load_images", "load_published"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: scripts that only read tables never load torch."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
