"""Feature points: which tokens of which iteration are pooled, before or after the quantiser."""

from itertools import product
from typing import NamedTuple

from alit.config.s_probe import ProbeConfig
from alit.models.distillation import TokenizerConfig

CONTROLS = ("constant", "colours", "pixels", "base", "base grid")


class FeaturePoint(NamedTuple):
    """What a probe sees of an image; the fields are columns of the study's tables."""

    features: str  # "tokenizer", or one of `CONTROLS`, for which nothing else applies
    iteration: int = 0  # from 1
    tokens: str = ""  # "image", "latents" or "both"
    latents: int = 0  # the first so many latents are pooled
    stage: str = ""  # "encoder" or "quantiser"
    pooling: str = ""  # "mean", or "concatenated": one mean for the latents of each iteration, side by side


def feature_points(config: ProbeConfig, tokenizer: TokenizerConfig) -> list[FeaturePoint]:
    """List the points of a profile, those that would repeat another left out, and the controls after them.

    At each iteration the first s, 2s, ... of its latents are pooled to a mean. The quantiser sees latents only. What is
    put side by side are all latents of an iteration, without image tokens.
    """
    points = []
    iterations = config.iterations or range(1, tokenizer.iterations + 1)
    for stage, pooling, tokens in product(config.stages, config.pooling, config.tokens):
        if tokens != "latents" and (stage, pooling) != ("encoder", "mean"):
            continue
        for iteration in (number for number in iterations if number <= tokenizer.iterations):
            counts = (0,) if tokens == "image" else tokenizer.lengths[:iteration]
            counts = counts if pooling == "mean" else counts[-1:]
            points += [FeaturePoint("tokenizer", iteration, tokens, count, stage, pooling) for count in counts]
    return [*points, *(FeaturePoint(name) for name in CONTROLS)]
