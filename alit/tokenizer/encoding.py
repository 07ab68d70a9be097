"""Encoding a batch to a fixed length, until a criterion holds per image, or to a mean length over a set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from alit.errors import ConfigError
from alit.models.base import BaseTokens
from alit.models.distillation import Halting, Prediction, chosen_probability
from alit.tokenizer.budget import allocate_budget

if TYPE_CHECKING:
    from alit.tokenizer.tokenizer import AdaptiveTokenizer


class Rollout(NamedTuple):
    """What one iteration has made of a batch of b images; `AdaptiveTokenizer.rollout` yields them cheapest first."""

    iteration: int  # 1-based
    length: int  # latent tokens, k
    image_tokens: Tensor | None  # (b, n, d); None at the last iteration unless asked for
    latents: Tensor  # (b, k, d), before the read-out norm
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    prediction: Tensor  # (b, n, v) logits, or (b, n, c) values for a VAE base
    predicted_codes: Tensor  # (b, n, c), what the base decoder receives
    base: BaseTokens  # the image tokens that the prediction is about
    reconstruction: Tensor | None  # (b, 3, h, w), about [0, 1] but not clipped; None unless asked for
    attention: Tensor | None  # (layers, b, n, k), latent decoder, head-averaged; None unless asked for


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


class Encoded(NamedTuple):
    """One image's tokens."""

    values: Tensor  # (k,) ids, or (k, z) codes
    satisfied: bool


class _Active(NamedTuple):
    """The images still being encoded; those that are done have left."""

    rows: Tensor  # their places in the batch, on the CPU
    images: Tensor  # (b, 3, h, w)
    base: BaseTokens
    sequence: Tensor  # (b, 1 + n + k, d), the encoder's tokens

    def keep(self, mask: Tensor) -> _Active:
        """Return the images of a mask (b,)."""
        ids = None if self.base.ids is None else self.base.ids[mask]
        base = BaseTokens(self.base.features[mask], self.base.codes[mask], ids, self.base.loss)
        return _Active(self.rows[mask.cpu()], self.images[mask], base, self.sequence[mask])


def encode_to_length(tokenizer: AdaptiveTokenizer, images: Tensor, length: int) -> list[Encoded]:
    """Encode every image to `length` tokens; the decoder never runs, and the last layer computes latents only."""
    encoder = tokenizer.distillation.encoder
    sequence = encoder.start(images, tokenizer.base.encode(images).features)
    last = tokenizer.lengths.index(length) + 1
    for iteration in range(1, last):
        sequence = encoder.iterate(sequence, iteration)
    latents = encoder.latents(encoder.iterate(sequence, last, encoder.latent_rows), last)
    read = tokenizer.distillation.read(latents)
    values = read.codes if read.ids is None else read.ids
    return [Encoded(value, True) for value in values]


def encode_until(tokenizer: AdaptiveTokenizer, images: Tensor, criterion: Criterion) -> list[Encoded]:
    """Encode each image until its criterion holds; an image that is done leaves the batch and costs nothing more.

    An image that never satisfies it keeps the longest length and is marked unsatisfied.
    """
    encoder = tokenizer.distillation.encoder
    encoded: list[Encoded | None] = [None] * len(images)
    active = _start(tokenizer, images)
    for iteration in range(1, tokenizer.config.iterations + 1):
        last = iteration == tokenizer.config.iterations
        whole = not last or _sees_image_tokens(criterion)
        active, rollout = _advance(tokenizer, active, iteration, slice(None) if whole else encoder.latent_rows)
        done = _satisfied(tokenizer, active, rollout, criterion)
        values = rollout.codes if rollout.ids is None else rollout.ids
        for place, (row, satisfied) in enumerate(zip(active.rows.tolist(), done.tolist(), strict=True)):
            if satisfied or last:
                encoded[row] = Encoded(values[place], satisfied)
        if last or bool(done.all()):
            break
        if bool(done.any()):
            active = active.keep(~done)
    return [tokens for tokens in encoded if tokens is not None]


def encode_halting(
    tokenizer: AdaptiveTokenizer,
    images: Tensor,
    criterion: Criterion,
    halting: Halting,
    generator: torch.Generator | None,
) -> list[Encoded]:
    """Encode each image until its criterion holds, masking well-predicted image tokens between iterations.

    Masks are drawn for the whole batch, which therefore stays together until the last image is done.
    """
    encoded: list[Encoded | None] = [None] * len(images)
    pixels = getattr(criterion, "sees_pixels", True)
    for step in tokenizer.rollout(images, reconstruct=pixels, halting=halting, generator=generator):
        values = step.codes if step.ids is None else step.ids
        last = step.iteration == tokenizer.config.iterations
        for row, satisfied in enumerate(criterion(images, step).tolist()):
            if encoded[row] is None and (satisfied or last):
                encoded[row] = Encoded(values[row], satisfied)
        if all(tokens is not None for tokens in encoded):
            break
    return [tokens for tokens in encoded if tokens is not None]


def encode_all_lengths(tokenizer: AdaptiveTokenizer, images: Tensor) -> tuple[list[list[Encoded]], np.ndarray]:
    """Encode every image at every length; also return the L1 (images, lengths) of each reconstruction."""
    steps = tokenizer.rollout(images, image_tokens=False)
    tokens: list[list[Encoded]] = [[] for _ in images]
    losses = []
    for step in steps:
        assert step.reconstruction is not None
        values = step.codes if step.ids is None else step.ids
        for image, value in zip(tokens, values, strict=True):
            image.append(Encoded(value, True))
        losses.append(reduce((step.reconstruction.clamp(0, 1) - images).abs(), "b c h w -> b", "mean"))
    return tokens, torch.stack(losses, dim=1).double().cpu().numpy()


def encode_to_budget(tokenizer: AdaptiveTokenizer, batches: Iterator[Tensor], mean_length: float) -> list[Encoded]:
    """Encode a set so that its mean length is at most `mean_length` and its total L1 as low as that allows."""
    tokens: list[list[Encoded]] = []
    losses: list[np.ndarray] = []
    for images in batches:
        some, their_losses = encode_all_lengths(tokenizer, images)
        tokens += some
        losses.append(their_losses)
    if not tokens:
        return []
    chosen = allocate_budget(np.concatenate(losses), tokenizer.lengths, mean_length * len(tokens))
    return [image[index] for image, index in zip(tokens, chosen, strict=True)]


def _start(tokenizer: AdaptiveTokenizer, images: Tensor) -> _Active:
    base = tokenizer.base.encode(images)
    rows = torch.arange(len(images), device="cpu")
    return _Active(rows, images, base, tokenizer.distillation.encoder.start(images, base.features))


def _advance(tokenizer: AdaptiveTokenizer, active: _Active, iteration: int, rows: slice) -> tuple[_Active, Rollout]:
    """Run one iteration of the encoder, up to `rows` of its sequence, and the latent decoder, without pixels."""
    distillation = tokenizer.distillation
    sequence = distillation.encoder.iterate(active.sequence, iteration, rows)
    length = tokenizer.lengths[iteration - 1]
    latents = distillation.encoder.latents(sequence, iteration)
    read = distillation.read(latents)
    prediction = distillation.decoder(read.codes, tokenizer.base.codebook).prediction
    rollout = Rollout(
        iteration,
        length,
        sequence[:, 1 : 1 + tokenizer.config.image_tokens] if sequence.shape[1] > length else None,
        latents,
        read.codes,
        read.ids,
        prediction.scores,
        prediction.codes,
        active.base,
        reconstruction=None,
        attention=None,
    )
    return active._replace(sequence=sequence), rollout


def _satisfied(tokenizer: AdaptiveTokenizer, active: _Active, rollout: Rollout, criterion: Criterion) -> Tensor:
    """Ask the criterion, decoding pixels only where it looks at them and its screen lets an image pass."""
    if not getattr(criterion, "sees_pixels", True):
        return criterion(active.images, rollout)
    screen = getattr(criterion, "screen", None)
    if screen is None:
        return criterion(active.images, _with_pixels(tokenizer, rollout))
    passed = screen(active.images, rollout)
    done = torch.zeros_like(passed)
    if bool(passed.any()):
        done[passed] = criterion(active.images[passed], _with_pixels(tokenizer, _select(rollout, passed)))
    return done


def _sees_image_tokens(criterion: Criterion) -> bool:
    screen = getattr(criterion, "screen", None)
    return any(getattr(part, "sees_image_tokens", True) for part in (criterion, screen) if part is not None)


def _with_pixels(tokenizer: AdaptiveTokenizer, rollout: Rollout) -> Rollout:
    return rollout._replace(reconstruction=tokenizer.base.decode(rollout.predicted_codes))


def _select(rollout: Rollout, mask: Tensor) -> Rollout:
    """Return the rollout of a mask (b,) of its images; attention is not among what encoding keeps."""

    def pick(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[mask]

    base = BaseTokens(rollout.base.features[mask], rollout.base.codes[mask], pick(rollout.base.ids), rollout.base.loss)
    return Rollout(
        rollout.iteration,
        rollout.length,
        pick(rollout.image_tokens),
        rollout.latents[mask],
        rollout.codes[mask],
        pick(rollout.ids),
        rollout.prediction[mask],
        rollout.predicted_codes[mask],
        base,
        reconstruction=None,
        attention=None,
    )
