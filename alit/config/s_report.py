"""Settings."""

from pydantic import PositiveInt

from alit.settings import Settings


class ReportConfig(Settings):
    """What the static site shows."""

    example_images: PositiveInt
    example_set: str
