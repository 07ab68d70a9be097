"""Adaptive length image tokenization: encode images into as many tokens as they need, and measure how many that is."""

import os
from typing import TYPE_CHECKING, Any

# OpenMP reads this when torch is imported: so import alit first, or set it yourself. Threads that spin while they wait
# take cores from those that they wait for where cores are shared: encoding took 14 times as long (docs/lab-log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from alit.criteria import CodeLoss, ReconstructionLoss
    from alit.data.pictures import load_images
    from alit.published import load_published
    from alit.tokenizer import AdaptiveTokenizer
    from alit.tokens import TokenSet

_HOME = {
    "AdaptiveTokenizer": "alit.tokenizer",
    "CodeLoss": "alit.criteria",
    "ReconstructionLoss": "alit.criteria",
    "TokenSet": "alit.tokens",
    "load_images": "alit.data.pictures",
    "load_published": "alit.published",
}

__all__ = ["AdaptiveTokenizer", "CodeLoss", "ReconstructionLoss", "TokenSet", "load_images", "load_published"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: scripts that only read tables never load torch."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
