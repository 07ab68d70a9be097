"""Settings."""

from typing import Annotated

from pydantic import Field, PositiveInt

from alit.settings import Settings


class AttentionConfig(Settings):
    """Where latents look, compared with segmentation masks (paper, section 5, Tab. 2, Fig. 8, 9, 13, 16)."""

    sets: tuple[str, ...]  # image sets with masks, of any role
    images: PositiveInt | None  # of each set, drawn at random; null takes all
    layer: PositiveInt  # of the latent decoder, from 1
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...]  # of a map that is kept as its segment
    smallest_mask: float = Field(ge=0, lt=1)  # share of the image; smaller masks are left out
    examples: PositiveInt  # images of each set whose maps are shown
    batch_size: int = Field(ge=2)  # a control gives an image the maps of another one of its batch
