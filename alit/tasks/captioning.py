"""Captioning: how much of an original's caption survives in the caption of its reconstruction.

Captioners are transformers' BLIP (Li et al., 2022), whose captions are decoded greedily, and `DualEncoder`; equal
images have equal captions.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from alit.tasks.images import LastCall, Normalise, resize
from alit.tasks.protocol import SweepBatch

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, which BLIP was trained with
STD = (0.26862954, 0.26130258, 0.27577711)
LONGEST = 20  # new tokens per caption


class CaptioningNetwork(Protocol):
    """What a caption task needs of a captioner."""

    decoding: str  # how it comes to its words
    look: Callable[[Tensor], list[str]]  # one caption per image (b, 3, h, w) in [0, 1]


class Captioner(nn.Module):
    """Captions images in [0, 1] of any size, resized (bilinear, antialiased) to `input_size`.

    `model` is a transformers BlipForConditionalGeneration, `read` turns its token ids (b, n) into b strings.
    """

    decoding = "greedy"

    def __init__(self, model: nn.Module, read: Callable[[Tensor], list[str]], input_size: int) -> None:
        super().__init__()
        self.model = model
        self.normalise = Normalise(MEAN, STD)
        self.input_size = input_size
        self.look = LastCall(self.captions)
        self._read = read

    @torch.no_grad()
    def captions(self, images: Tensor) -> list[str]:
        """Return one caption per image (b, 3, h, w)."""
        pixels = self.normalise(resize(images, self.input_size))
        model: Any = self.model
        ids = model.generate(pixel_values=pixels, max_new_tokens=LONGEST, num_beams=1, do_sample=False)
        return self._read(ids)


class CaptionTask:
    """Columns caption_score_<name> and caption_true_score_<name>: token F1 of the caption of a reconstruction.

    The first compares with the captioner's own caption of the original, the second with the reference caption, where
    there is one.
    """

    def __init__(self, name: str, captioner: CaptioningNetwork, record: Mapping[str, Any]) -> None:
        self.columns = (f"caption_score_{name}", f"caption_true_score_{name}")
        self.record = {
            **record,
            "score": "token F1 against the caption of the original",
            "true_score": "token F1 against the reference caption",
            "decoding": captioner.decoding,
        }
        self._captioner = captioner

    def reference(self, batch: SweepBatch) -> list[str]:
        """Return the captions of the originals."""
        return self._captioner.look(batch.images)

    def score(self, images: Tensor, reference: list[str], batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return both scores (b,) of images (b, 3, h, w); NaN where there is no reference caption."""
        captions = self._captioner.look(images)
        known = batch.captions or [None] * len(captions)
        own = [token_f1(a, b) for a, b in zip(captions, reference, strict=True)]
        true = [math.nan if b is None else token_f1(a, b) for a, b in zip(captions, known, strict=True)]
        return dict(zip(self.columns, (np.array(own, np.float32), np.array(true, np.float32)), strict=True))


def token_f1(caption: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of words, counted with repetition, case ignored.

    1 for captions of the same words in any order, 0 for captions that share none; two empty captions are
    equal.
    """
    words, expected = (Counter(words_of(text)) for text in (caption, reference))
    total = words.total() + expected.total()
    return 2 * (words & expected).total() / total if total else 1.0


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case and without punctuation."""
    return re.findall(r"\w+", text.lower())
