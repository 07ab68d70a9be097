"""Random draws whose values never change: not with the platform, and not with the release of NumPy.

NumPy promises the raw stream of a bit generator for ever, but not what its distributions make of it
(NEP 19), so the few distributions that scenes need are made here from raw 64-bit words.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_WORDS = 256  # fetched at once


class Draws:
    """A stream of draws that depends on `seed` and `stream` alone."""

    def __init__(self, seed: int, stream: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, stream]))
        self._words: list[int] = []

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high)."""
        if not self._words:
            self._words = self._bits.random_raw(_WORDS).tolist()
        return low + ((self._words.pop() >> 32) * (high - low) >> 32)

    def between(self, low: float, high: float) -> float:
        """Return one of 65,536 evenly spaced numbers in [low, high)."""
        return low + (high - low) * (self.integer(0, 65536) / 65536)

    def chance(self, share: float) -> bool:
        """Return True in `share` of the draws."""
        return self.between(0.0, 1.0) < share

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.integer(0, len(options))]
