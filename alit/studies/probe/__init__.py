"""Linear probes of frozen features (paper, section 5; C9, C15), and the columns that name a feature point.

The names stand here, without torch, for both the measurement and the tables.
"""

from typing import NamedTuple

TOKENS = {"image": "image tokens", "latents": "latents", "both": "image tokens and latents"}
CONTROLS = {
    "constant": "nothing (most frequent class)",
    "colors": "mean and spread of the colors",
    "pixels": "coarse pixels",
    "base": "base tokens, pooled",
    "base grid": "base tokens, coarse grid",
}


class FeaturePoint(NamedTuple):
    """What a probe sees of an image; the fields are columns of the study's tables (docs/studies/probe.md)."""

    features: str  # "tokenizer", or one of `CONTROLS`, for which nothing else applies
    iteration: int = 0  # from 1
    tokens: str = ""  # one of `TOKENS`
    latents: int = 0  # the first so many latents are pooled
    stage: str = ""  # "encoder" or "quantizer"
    pooling: str = ""  # "mean", or "concatenated": one mean for the latents of each iteration, side by side

    @property
    def label(self) -> str:
        """What is probed, in words, whatever the iteration."""
        if self.features != "tokenizer":
            return CONTROLS.get(self.features, self.features)
        words = [TOKENS[self.tokens]]
        words += ["quantized"] * (self.stage == "quantizer") + ["side by side"] * (self.pooling == "concatenated")
        return ", ".join(words)
