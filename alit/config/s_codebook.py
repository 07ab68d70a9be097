"""Settings."""

from pydantic import PositiveInt

from alit.settings import Settings


class CodebookConfig(Settings):
    """The study of token ids."""

    batch_size: PositiveInt
    pairs: PositiveInt  # closest pairs of images kept of each set
