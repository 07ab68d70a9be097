"""Settings."""

from pydantic import PositiveInt

from alit.settings import Settings


class CostConfig(Settings):
    """Timing, one image at a time."""

    images: PositiveInt  # each is one round: every tokenizer, operation and length once, in turn
    threads: PositiveInt  # on a CPU
