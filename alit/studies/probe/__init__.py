"""Linear probes of frozen features (paper, section 5; C9, C15), and the columns that name a feature point.

The names stand here, without torch, for both the measurement and the tables.
"""

from typing import NamedTuple

TOKENS = {
    "image": "image tokens",
    "latents": "latents",
    "both": "image tokens and latents",
    "last latents": "last latents",  # for comparison with as many first ones
}
TOKENIZER, VARIANTS = "tokenizer", "variants/"  # whose features: the profile's own tokenizer, or a variant's
CONTROLS = {
    "constant": "nothing (most frequent class)",
    "colors": "mean and spread of the colors",
    "pixels": "coarse pixels",
    "base": "base tokens, pooled",
    "base grid": "base tokens, coarse grid",
}
CONTROLS_OF_PIXELS = ("constant", "colors", "pixels")  # the others need a base tokenizer


class FixedLengthPair(NamedTuple):
    """Two variants trained alike, the one recurrent, the other of one length: "variants/<name>/<seed>" each."""

    variant: str
    than: str  # the one of a fixed length


class FeaturePoint(NamedTuple):
    """What a probe sees of an image; the fields are columns of the study's tables (docs/studies/probe.md)."""

    features: str  # "tokenizer", "variants/<name>/<seed>", or one of `CONTROLS`, for which nothing else applies
    iteration: int = 0  # from 1
    tokens: str = ""  # one of `TOKENS`
    latents: int = 0  # the first so many latents are pooled, the last so many of "last latents"
    stage: str = ""  # "encoder" or "quantizer"
    pooling: str = ""  # "mean", or "concatenated": one mean for the latents of each iteration, side by side

    @property
    def label(self) -> str:
        """What is probed, in words, whatever the iteration."""
        if self.features in CONTROLS:
            return CONTROLS[self.features]
        words = [TOKENS[self.tokens]]
        words += ["quantized"] * (self.stage == "quantizer") + ["side by side"] * (self.pooling == "concatenated")
        words += [self.features.removeprefix(VARIANTS)] * (self.features != TOKENIZER)
        return ", ".join(words)
