"""From settings to networks."""

import torch

from alit.config.s_base import BaseTokenizerConfig
from alit.models.base import BaseTokenizer
from alit.models.vae import VAE
from alit.models.vqgan import VQGAN

BASE_TOKENIZERS: dict[str, type[BaseTokenizer]] = {"vqgan": VQGAN, "vae": VAE}


def build_base(config: BaseTokenizerConfig) -> BaseTokenizer:
    """Return the base tokenizer that the settings describe, with random weights.

    Convolutions are laid out with channels last: faster on a CPU in float32 but for the narrowest (docs/speed.md).
    """
    return BASE_TOKENIZERS[config.kind](config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
