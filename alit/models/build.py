"""From settings to networks."""

from alit.config import BaseTokenizerConfig
from alit.models.base import BaseTokenizer
from alit.models.vae import VAE
from alit.models.vqgan import VQGAN

BASE_TOKENIZERS: dict[str, type[BaseTokenizer]] = {"vqgan": VQGAN, "vae": VAE}


def build_base(config: BaseTokenizerConfig) -> BaseTokenizer:
    """Return the base tokenizer that the settings describe, with random weights."""
    return BASE_TOKENIZERS[config.kind](config)
