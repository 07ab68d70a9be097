"""A dual encoder as captioner: it cannot write, so it gives an image the nearest of the captions that it knows.

Images and captions are mapped to unit vectors of one space, trained on pairs as CLIP is (Radford et al., 2021). The
captioner of the profiles without published weights: trained here on the scenes' template captions, and no stand-in by
name for BLIP, which the paper captions with (Fig. 7).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional

from alit.tasks.captioning import words_of
from alit.tasks.images import LastCall, Normalise, resize
from alit.tasks.networks import convolution_stages

SIZE = 64  # numbers of a vector
LARGEST_SCALE = 100.0  # CLIP's bound
SIMILARITIES_AT_A_TIME = 4_000_000  # numbers: 16 MB
WIDTHS = {  # architecture -> channels of the image encoder's five convolutions
    "small_dual_encoder": (16, 24, 32, 48, 64),
    "dual_encoder": (32, 48, 96, 128, 192),
}


class WordNumbers(NamedTuple):
    """Captions of different lengths in one row: the numbers of their words, and where each caption starts."""

    numbers: Tensor  # (words,) int64
    starts: Tensor  # (b,) int64


class DualEncoder(nn.Module):
    """Captions images in [0, 1] of any size, resized (bilinear, antialiased) to `input_size`.

    The image encoder is five convolutions and a mean; the text encoder is the mean of a caption's word vectors, so
    that word order is not read. Words that no known caption has are skipped.

    Args:
        captions: what it can say: those of its training images, each kept once.
        widths: channels of the convolutions.
        input_size: pixels per side that it sees.
    """

    decoding = "nearest of the captions of its training images"
    known_vectors: Tensor

    def __init__(self, captions: Sequence[str], widths: Sequence[int], *, input_size: int) -> None:
        super().__init__()
        self.known_captions = tuple(dict.fromkeys(captions))
        words = sorted({word for caption in self.known_captions for word in words_of(caption)})
        self._numbers = {word: number for number, word in enumerate(words)}
        self.input_size = input_size
        self.normalise = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.stages = convolution_stages(widths)
        self.image_head = nn.Linear(widths[-1], SIZE)
        self.word_vectors = nn.EmbeddingBag(len(words), SIZE, mode="mean")
        self.text_head = nn.Linear(SIZE, SIZE)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.register_buffer("known_vectors", torch.zeros(len(self.known_captions), SIZE))
        self.look = LastCall(self.nearest)

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by before the contrastive loss."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors (b, e) of images (b, 3, h, w)."""
        maps = self.normalise(resize(images, self.input_size))
        for stage in self.stages:
            maps = stage(maps)
        return functional.normalize(self.image_head(reduce(maps, "b c h w -> b c", "mean")), dim=-1)

    def read(self, captions: Sequence[str]) -> Tensor:
        """Return unit vectors (b, e) of captions."""
        words = self._word_numbers(captions)
        return functional.normalize(self.text_head(self.word_vectors(words.numbers, words.starts)), dim=-1)

    @torch.no_grad()
    def remember(self) -> None:
        """Keep the vectors of the known captions; call once trained, since they change with the weights."""
        self.known_vectors.copy_(self.read(self.known_captions))

    @torch.no_grad()
    def nearest(self, images: Tensor) -> list[str]:
        """Return for each image (b, 3, h, w) the known caption whose vector is nearest."""
        step = max(1, SIMILARITIES_AT_A_TIME // len(self.known_captions))
        best = [(vectors @ self.known_vectors.T).argmax(dim=1) for vectors in self(images).split(step)]
        return [self.known_captions[number] for number in torch.cat(best).tolist()]

    def _word_numbers(self, captions: Sequence[str]) -> WordNumbers:
        numbers = [[self._numbers[word] for word in words_of(text) if word in self._numbers] for text in captions]
        starts = [0]
        for row in numbers[:-1]:
            starts.append(starts[-1] + len(row))
        device = self.known_vectors.device
        flat = [number for row in numbers for number in row]
        return WordNumbers(torch.tensor(flat, device=device), torch.tensor(starts, device=device))
