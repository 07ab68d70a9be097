"""Settings."""

from typing import Final, Literal

Factor = Literal["objects", "texture", "background"]


FACTORS: Final = ("objects", "texture", "background")  # of scenes that differ in one of them alone
