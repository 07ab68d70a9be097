"""Settings."""

from pydantic import PositiveInt

from alit.settings import Settings


class SweepConfig(Settings):
    """The pass that measures every image at every length."""

    chunk_size: PositiveInt  # images per resumable chunk
    tokenizer_batch: PositiveInt
