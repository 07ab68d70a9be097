"""Adaptive length image tokenization: encode images into as many tokens as they need, and measure how many that is."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alit.data.images import load_images
    from alit.models.distillation import Halting
    from alit.tokenizer.encoding import CodeLoss, ReconstructionLoss
    from alit.tokenizer.length_predictor import PredictedLoss
    from alit.tokenizer.protocol import Reconstruction, Tokenizer
    from alit.tokenizer.published import load_published
    from alit.tokenizer.tokenizer import AdaptiveTokenizer
    from alit.tokenizer.tokens import TokenSet

__version__ = "0.1.0"

__all__ = [
    "AdaptiveTokenizer",
    "CodeLoss",
    "Halting",
    "PredictedLoss",
    "Reconstruction",
    "ReconstructionLoss",
    "TokenSet",
    "Tokenizer",
    "load_images",
    "load_published",
]

_HOME = {
    "AdaptiveTokenizer": "alit.tokenizer.tokenizer",
    "CodeLoss": "alit.tokenizer.encoding",
    "Halting": "alit.models.distillation",
    "PredictedLoss": "alit.tokenizer.length_predictor",
    "Reconstruction": "alit.tokenizer.protocol",
    "ReconstructionLoss": "alit.tokenizer.encoding",
    "TokenSet": "alit.tokenizer.tokens",
    "Tokenizer": "alit.tokenizer.protocol",
    "load_images": "alit.data.images",
    "load_published": "alit.tokenizer.published",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: scripts that only read tables never load torch."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*globals(), *__all__])
