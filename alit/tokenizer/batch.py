"""How many tokens an image gets, and a batch of images encoded so: what `alit encode` and `alit tokenize` share."""

from typing import Any

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from alit.errors import ConfigError
from alit.settings import Settings
from alit.tokenizer.encoding import Encoded, ReconstructionLoss, encode_all_lengths, encode_to_length, encode_until
from alit.tokenizer.length_predictor import PredictedLoss, encode_predicted
from alit.tokenizer.tokenizer import AdaptiveTokenizer

PREDICTED = ("until_predicted_l1", "confidence", "length_predictor")  # settings that a record of other rules lacks


class EncodeConfig(Settings):
    """How many tokens an image gets, by exactly one of the first four; and how many images are encoded at once."""

    length: PositiveInt | None = None  # tokens of every image
    until_l1: PositiveFloat | None = None  # the fewest tokens with a mean absolute error below this; in [0, 1]
    until_predicted_l1: PositiveFloat | None = None  # the fewest that are predicted to keep the error below this
    budget: PositiveFloat | None = None  # mean tokens over the whole set
    confidence: float = Field(default=0.9, gt=0, lt=1)  # of the predicted length
    batch_size: PositiveInt = 64

    @model_validator(mode="after")
    def _one_rule(self) -> "EncodeConfig":
        rules = (self.length, self.until_l1, self.until_predicted_l1, self.budget)
        if sum(rule is not None for rule in rules) != 1:
            raise ValueError("expected exactly one of length, until_l1, until_predicted_l1 and budget")
        return self

    @property
    def until(self) -> ReconstructionLoss | PredictedLoss | None:
        """What each image is encoded until; None where that is a length or a budget."""
        if self.until_predicted_l1 is not None:
            return PredictedLoss(self.until_predicted_l1, self.confidence)
        return None if self.until_l1 is None else ReconstructionLoss(l1=self.until_l1)


def check_rule(config: EncodeConfig, tokenizer: AdaptiveTokenizer) -> None:
    """Check that a tokenizer can do what is asked for, before any work.

    Raises:
        ConfigError: it has no such length, the budget is below the shortest, or no length can be predicted so.
    """
    lengths = tokenizer.lengths
    if config.length is not None and config.length not in lengths:
        raise ConfigError(f"expected a length among {', '.join(map(str, lengths))}, found {config.length}")
    if config.budget is not None and config.budget < lengths[0]:
        raise ConfigError(f"expected a mean of at least the shortest length {lengths[0]}, found {config.budget:g}")
    if isinstance(config.until, PredictedLoss):
        tokenizer.require_length_predictor().margin(config.until)  # or it cannot be promised


def rule_settings(config: EncodeConfig, tokenizer: AdaptiveTokenizer) -> dict[str, Any]:
    """Return what an image's tokens depend on beside image and tokenizer; `PREDICTED` only where lengths are predicted.

    Raises:
        ConfigError: lengths are to be predicted, and the tokenizer has no length predictor.
    """
    found = {name: getattr(config, name) for name in ("length", "until_l1", "budget")}
    if config.until_predicted_l1 is None:
        return found
    values = config.until_predicted_l1, config.confidence, tokenizer.require_length_predictor().digest
    return found | dict(zip(PREDICTED, values, strict=True))


@torch.no_grad()
def encode_batch(
    tokenizer: AdaptiveTokenizer, images: Tensor, config: EncodeConfig
) -> tuple[list[Encoded], np.ndarray]:
    """Encode images (b, 3, h, w) in [0, 1] to as many tokens as asked for.

    Returns:
        Tokens of each image; for a budget those of all lengths, one behind the other. And the L1 (b, lengths) of each
        length for a budget, else (b, 0).

    Raises:
        ConfigError: the batch does not fit the device's memory.
    """
    try:
        if config.budget is not None:
            tokens, losses = encode_all_lengths(tokenizer, images)
            return [Encoded(torch.cat([step.values for step in image]), True) for image in tokens], losses
        if isinstance(until := config.until, PredictedLoss):
            predictor = tokenizer.require_length_predictor()
            encoded = encode_predicted(tokenizer, images, predictor, until, predictor.margin(until))
        elif until is not None:
            encoded = encode_until(tokenizer, images, until)
        else:
            assert config.length is not None
            encoded = encode_to_length(tokenizer, images, config.length)
        return encoded, np.empty((len(images), 0))
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"a batch of {len(images)} images does not fit the memory of {tokenizer.device}: lower --batch-size"
        ) from error
