"""Token-selection criteria that are evaluated while an image is being encoded.

A criterion is any callable `(images, Rollout) -> (b,) bool`: true where the image needs no further tokens. What it
looks at decides what encoding pays for: `sees_pixels = False` saves decoding pixels, and `sees_image_tokens = False`
computing those of the last iteration. A callable without these attributes is given both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from alit.errors import ConfigError
from alit.models.distillation import Prediction, chosen_probability
from alit.rollout import Rollout

Criterion = Callable[[Tensor, Rollout], Tensor]


@dataclass(frozen=True)
class CodeLoss:
    """Satisfied where the predicted image tokens are close to the base tokens; needs no pixels.

    Attributes:
        error: most mean squared error of the predicted code vectors, averaged over image tokens.
        probability: least probability of the base ids, averaged over image tokens; VQGAN bases only.
    """

    error: float | None = None
    probability: float | None = None
    sees_pixels: bool = False
    sees_image_tokens: bool = False

    def __post_init__(self) -> None:
        if (self.error is None) == (self.probability is None):
            raise ConfigError("CodeLoss expects exactly one of error= and probability=")

    def __call__(self, images: Tensor, rollout: Rollout) -> Tensor:
        """Return which of images (b, 3, h, w) are satisfied, (b,) bool."""
        if self.error is not None:
            squared = (rollout.predicted_codes - rollout.base.codes).square()
            return reduce(squared, "b n c -> b", "mean") < self.error
        if rollout.base.ids is None:
            raise ConfigError("CodeLoss(probability=) needs a base tokenizer with a codebook; use error=")
        assert self.probability is not None
        prediction = Prediction(rollout.prediction, rollout.predicted_codes)
        return chosen_probability(prediction, rollout.base.ids).mean(dim=1) >= self.probability


@dataclass(frozen=True)
class ReconstructionLoss:
    """Satisfied where the reconstruction, clipped to [0, 1], is close to the image (paper, section 4).

    The published code averages over the whole batch and does not clip; here each image has its own verdict.

    Attributes:
        l1: most mean absolute error in [0, 1].
        l2: most mean squared error.
        screen: decode pixels only of images that this latent criterion lets pass. A screen that is stricter than the
            loss lengthens encodings, it never accepts an image whose loss is too high.
    """

    l1: float | None = None
    l2: float | None = None
    screen: CodeLoss | None = None
    sees_pixels: bool = True
    sees_image_tokens: bool = False

    def __post_init__(self) -> None:
        if (self.l1 is None) == (self.l2 is None):
            raise ConfigError("ReconstructionLoss expects exactly one of l1= and l2=")

    def __call__(self, images: Tensor, rollout: Rollout) -> Tensor:
        """Return which of images (b, 3, h, w) in [0, 1] are satisfied, (b,) bool."""
        assert rollout.reconstruction is not None
        difference = rollout.reconstruction.clamp(0, 1) - images
        if self.l1 is not None:
            return reduce(difference.abs(), "b c h w -> b", "mean") < self.l1
        assert self.l2 is not None
        return reduce(difference.square(), "b c h w -> b", "mean") < self.l2


@dataclass(frozen=True)
class FixedLength:
    """Satisfied at a length, whatever the image."""

    length: int
    sees_pixels: bool = False
    sees_image_tokens: bool = False

    def __call__(self, images: Tensor, rollout: Rollout) -> Tensor:
        """Return (b,) bool."""
        return images.new_full((len(images),), rollout.length >= self.length, dtype=torch.bool)
