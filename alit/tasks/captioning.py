"""Captioning: token F1 between the caption of a reconstruction and that of its original.

Captioners are transformers' BLIP (Li et al., 2022), decoded greedily, and `DualEncoder`, which returns the nearest of
its known captions. Equal images have equal captions.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional

from alit.tasks.networks import convolution_stages
from alit.tasks.protocol import Normalize, SweepBatch, memoize_last, resize

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, which BLIP was trained with
STD = (0.26862954, 0.26130258, 0.27577711)
LONGEST = 20  # new tokens per caption

SIZE = 64  # numbers of a dual encoder's vectors
LARGEST_SCALE = 100.0  # CLIP's bound
SIMILARITIES_AT_A_TIME = 4_000_000  # numbers: 16 MB
WIDTHS = {  # architecture -> channels of the image encoder's five convolutions
    "small_dual_encoder": (16, 24, 32, 48, 64),
    "dual_encoder": (32, 48, 96, 128, 192),
}


class CaptioningNetwork(Protocol):
    """The part of a captioner that a caption task uses."""

    decoding: str  # how captions are made, for the record
    captions: Callable[[Tensor], list[str]]  # one caption per image (b, 3, h, w) in [0, 1]


class Captioner(nn.Module):
    """Captions images in [0, 1] of any size, resized (bilinear, antialiased) to `input_size`.

    `model` is a transformers BlipForConditionalGeneration; `read` turns its token ids (b, n) into b strings.
    """

    decoding = "greedy"

    def __init__(self, model: nn.Module, read: Callable[[Tensor], list[str]], input_size: int) -> None:
        super().__init__()
        self.model = model
        self.normalize = Normalize(MEAN, STD)
        self.input_size = input_size
        self.captions = memoize_last(self.generate)
        self._read = read

    @torch.no_grad()
    def generate(self, images: Tensor) -> list[str]:
        """Return one caption per image (b, 3, h, w)."""
        pixels = self.normalize(resize(images, self.input_size))
        model: Any = self.model
        ids = model.generate(pixel_values=pixels, max_new_tokens=LONGEST, num_beams=1, do_sample=False)
        return self._read(ids)


class CaptionTask:
    """Columns caption_score_<name> and caption_true_score_<name>: token F1 of the caption of a reconstruction.

    The first compares with the captioner's caption of the original, the second with the reference caption, where there
    is one.
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
        return self._captioner.captions(batch.images)

    def score(self, images: Tensor, reference: list[str], batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return both scores (b,) of images (b, 3, h, w); NaN where there is no reference caption."""
        captions = self._captioner.captions(images)
        known = batch.captions or [None] * len(captions)
        scores = [token_f1(a, b) for a, b in zip(captions, reference, strict=True)]
        true_scores = [math.nan if b is None else token_f1(a, b) for a, b in zip(captions, known, strict=True)]
        return dict(zip(self.columns, (np.array(scores, np.float32), np.array(true_scores, np.float32)), strict=True))


def token_f1(caption: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of words, counted with repetition, case ignored.

    1 for captions of the same words in any order, and for two empty ones; 0 for captions that share no word.
    """
    words, expected = (Counter(words_of(text)) for text in (caption, reference))
    total = words.total() + expected.total()
    return 2 * (words & expected).total() / total if total else 1.0


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case and without punctuation."""
    return re.findall(r"\w+", text.lower())


class DualEncoder(nn.Module):
    """Captions images in [0, 1] of any size, resized (bilinear, antialiased) to `input_size`, by its known captions.

    Images and captions are mapped to unit vectors of one space, trained on pairs as CLIP is (Radford et al., 2021). An
    image gets the nearest of the known captions. It is the captioner of profiles without published weights, trained
    here on the template captions of scenes, and never named BLIP, which the paper captions with (Fig. 7).

    The image encoder is five convolutions and a mean; the text encoder is the mean of a caption's word vectors, so
    that word order does not count. Words that no known caption has are skipped.

    Args:
        captions: of the training images; each is kept once.
        widths: channels of the convolutions.
        input_size: pixels per side that images are resized to.
    """

    decoding = "nearest of the captions of its training images"
    known_vectors: Tensor

    def __init__(self, captions: Sequence[str], widths: Sequence[int], *, input_size: int) -> None:
        super().__init__()
        self.known_captions = tuple(dict.fromkeys(captions))
        words = sorted({word for caption in self.known_captions for word in words_of(caption)})
        self._numbers = {word: number for number, word in enumerate(words)}
        self.input_size = input_size
        self.normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.stages = convolution_stages(widths)
        self.image_head = nn.Linear(widths[-1], SIZE)
        self.word_vectors = nn.EmbeddingBag(len(words), SIZE, mode="mean")
        self.text_head = nn.Linear(SIZE, SIZE)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.register_buffer("known_vectors", torch.zeros(len(self.known_captions), SIZE))
        self.captions = memoize_last(self.nearest)

    @property
    def scale(self) -> Tensor:
        """Factor of the similarities in the contrastive loss, a scalar."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors (b, e) of images (b, 3, h, w)."""
        maps = self.normalize(resize(images, self.input_size))
        for stage in self.stages:
            maps = stage(maps)
        return functional.normalize(self.image_head(reduce(maps, "b c h w -> b c", "mean")), dim=-1)

    def read(self, captions: Sequence[str]) -> Tensor:
        """Return unit vectors (b, e) of captions."""
        numbers, starts = self._word_numbers(captions)
        return functional.normalize(self.text_head(self.word_vectors(numbers, starts)), dim=-1)

    @torch.no_grad()
    def remember(self) -> None:
        """Compute the vectors of the known captions; call it once after training, since they depend on the weights."""
        self.known_vectors.copy_(self.read(self.known_captions))

    @torch.no_grad()
    def nearest(self, images: Tensor) -> list[str]:
        """Return for each image (b, 3, h, w) the known caption whose vector is nearest."""
        step = max(1, SIMILARITIES_AT_A_TIME // len(self.known_captions))
        best = [(vectors @ self.known_vectors.T).argmax(dim=1) for vectors in self(images).split(step)]
        return [self.known_captions[number] for number in torch.cat(best).tolist()]

    def _word_numbers(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the numbers of all words (words,) int64, and where in them each caption starts (b,) int64."""
        numbers = [[self._numbers[word] for word in words_of(text) if word in self._numbers] for text in captions]
        starts = [0]
        for row in numbers[:-1]:
            starts.append(starts[-1] + len(row))
        device = self.known_vectors.device
        flat = [number for row in numbers for number in row]
        return torch.tensor(flat, device=device), torch.tensor(starts, device=device)
