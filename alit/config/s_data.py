"""Settings."""

from typing import Literal

from pydantic import Field, PositiveInt

from alit.config.s_factor import FACTORS, Factor
from alit.settings import Settings


class ImageSetConfig(Settings):
    """One image set: where it comes from and what it is used for."""

    name: str
    # evaluate: swept, and asked every claim; check: swept, for how far depth networks may be trusted alone;
    # study: not swept, read only by the studies that name it; task: read only by the task models that name it
    role: Literal["train", "evaluate", "check", "study", "task"]
    source: Literal["scenes", "folder", "savoias", "packed", "imagenet_s", "panoptic", "masks", "depth_pairs"]
    path: str | None  # below $ALIT_DATA or data/; null for scenes
    variant: Literal["base", "near", "far", Factor]  # scenes only; a factor has every scene at each of its levels
    split: str
    images: PositiveInt | None  # at most so many, chosen evenly over the whole set; null takes all
    pack: bool  # decode once into an array (small sets) or read files on demand

    @property
    def swept(self) -> bool:
        """Whether the sweep table has its images."""
        return self.role in ("evaluate", "check")

    @property
    def controlled(self) -> bool:
        """Whether its complexity is set by hand, one factor at a time: no sample of images like the other sets."""
        return self.source == "scenes" and self.variant in FACTORS


class DataConfig(Settings):
    """All image sets of a profile; the first set with role train trains the tokenizer."""

    image_size: PositiveInt  # pixels per side after resize and centre crop
    rejected_share: float = Field(ge=0, le=1)  # unreadable images tolerated before the stage stops
    flip: bool  # horizontal flips while training
    crop_scale: float = Field(gt=0, le=1)  # smallest area share of a random training crop; 1 never crops
    sets: tuple[ImageSetConfig, ...]
