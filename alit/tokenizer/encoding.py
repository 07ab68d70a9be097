"""How images become tokens: the rollout, the criteria that end it, and encoding to a length, criterion or budget.

The functions take the two networks of a tokenizer as `Networks`; `AdaptiveTokenizer` is one, and calls them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from alit.errors import ConfigError
from alit.models.base import BaseTokenizer, BaseTokens
from alit.models.distillation import Distillation, Distilled, Halting, Prediction, chosen_probability
from alit.tokenizer.budget import allocate_budget


class Networks(Protocol):
    """A base tokenizer and the distillation that was trained on it."""

    base: BaseTokenizer
    distillation: Distillation


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
    halted: Tensor | None = None  # (b, n) bool, image tokens masked before this iteration; None where halting is off


def roll_out(
    networks: Networks,
    images: Tensor,
    *,
    reconstruct: bool = True,
    image_tokens: bool = True,
    attention: bool = False,
    halting: Halting | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Rollout]:
    """Yield one `Rollout` per iteration for images (b, 3, h, w); see `AdaptiveTokenizer.rollout`."""
    if halting is not None and generator is None:
        raise ConfigError("halting draws at random: expected generator=, a torch.Generator on the images' device")
    base = networks.base.encode(images)
    steps = networks.distillation.iterate(
        images,
        base,
        networks.base.codebook,
        last=None if image_tokens else networks.distillation.config.iterations,
        attention=attention,
        halting=halting,
        generator=generator,
    )
    for step in steps:
        rollout = _rollout_of(step, base)
        yield _with_pixels(networks, rollout) if reconstruct else rollout


def _rollout_of(step: Distilled, base: BaseTokens) -> Rollout:
    """Return an iteration of the distillation as a `Rollout` without pixels."""
    assert step.prediction is not None
    return Rollout(
        step.iteration,
        step.length,
        step.image_tokens,
        step.latents,
        step.codes,
        step.ids,
        step.prediction.scores,
        step.prediction.codes,
        base,
        reconstruction=None,
        attention=step.attention,
        halted=step.halted,
    )


def _with_pixels(networks: Networks, rollout: Rollout) -> Rollout:
    return rollout._replace(reconstruction=networks.base.decode(rollout.predicted_codes))


# A token-selection criterion maps images (b, 3, h, w) and their rollout to (b,) bool: true where an image needs no
# further tokens. Two attributes say what it reads, so that nothing else is computed: `sees_pixels = False` saves
# decoding pixels, and `sees_image_tokens = False` the image tokens of the last iteration. A callable without them is
# given both.
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

    The published code averages over the whole batch and does not clip; here each image is judged by itself.

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


def encode_to_length(networks: Networks, images: Tensor, length: int) -> list[Encoded]:
    """Encode every image to `length` tokens; the decoder never runs, and the last layer computes latents only."""
    encoder = networks.distillation.encoder
    features = networks.base.encode(images).features
    sequence = encoder.start(images, features)
    last = networks.distillation.config.lengths.index(length) + 1
    for iteration in range(1, last):
        sequence = encoder.iterate(sequence, iteration)
    latents = encoder.latents(encoder.iterate(sequence, last, encoder.latent_rows), last)
    read = networks.distillation.read(latents, features)
    values = read.codes if read.ids is None else read.ids
    return [Encoded(value, True) for value in values]


def encode_until(networks: Networks, images: Tensor, criterion: Criterion) -> list[Encoded]:
    """Encode each image until its criterion holds; an image that is done leaves the batch and costs nothing more.

    An image that never satisfies it keeps the longest length and is marked unsatisfied.
    """
    encoded: list[Encoded | None] = [None] * len(images)
    iterations = networks.distillation.config.iterations
    active = _start(networks, images)
    for iteration in range(1, iterations + 1):
        last = iteration == iterations
        active, rollout = _advance(networks, active, iteration, image_tokens=not last or _sees_image_tokens(criterion))
        done = _satisfied(networks, active.images, rollout, criterion)
        for place, (row, satisfied) in enumerate(zip(active.rows.tolist(), done.tolist(), strict=True)):
            if satisfied or last:
                encoded[row] = Encoded(_values(rollout)[place], satisfied)
        if last or bool(done.all()):
            break
        if bool(done.any()):
            active = active.keep(~done)
    return [tokens for tokens in encoded if tokens is not None]


class _Active(NamedTuple):
    """The images still being encoded; those that are done have left."""

    rows: Tensor  # their places in the batch, on the CPU
    images: Tensor  # (b, 3, h, w)
    base: BaseTokens
    sequence: Tensor  # (b, 1 + n + k, d), the encoder's tokens

    def keep(self, mask: Tensor) -> "_Active":
        """Return the images of a mask (b,)."""
        return _Active(self.rows[mask.cpu()], self.images[mask], _keep_base(self.base, mask), self.sequence[mask])


def _start(networks: Networks, images: Tensor) -> _Active:
    base = networks.base.encode(images)
    rows = torch.arange(len(images), device="cpu")
    return _Active(rows, images, base, networks.distillation.encoder.start(images, base.features))


def _advance(networks: Networks, active: _Active, iteration: int, *, image_tokens: bool) -> tuple[_Active, Rollout]:
    """Run one iteration of the encoder, and the latent decoder, without pixels.

    Without `image_tokens` the encoder's last layer computes latents only, and no iteration can follow.
    """
    distillation = networks.distillation
    encoder = distillation.encoder
    sequence = encoder.iterate(active.sequence, iteration, slice(None) if image_tokens else encoder.latent_rows)
    latents = encoder.latents(sequence, iteration)
    read = distillation.read(latents, active.base.features)
    prediction = distillation.decode(read.codes, networks.base.codebook).prediction
    rollout = Rollout(
        iteration,
        distillation.config.lengths[iteration - 1],
        sequence[:, 1 : 1 + distillation.config.image_tokens] if image_tokens else None,
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


def _satisfied(networks: Networks, images: Tensor, rollout: Rollout, criterion: Criterion) -> Tensor:
    """Evaluate a criterion; pixels are decoded only where it uses them and its screen lets an image pass."""
    if not getattr(criterion, "sees_pixels", True):
        return criterion(images, rollout)
    screen = getattr(criterion, "screen", None)
    if screen is None:
        return criterion(images, _with_pixels(networks, rollout))
    passed = screen(images, rollout)
    done = torch.zeros_like(passed)
    if bool(passed.any()):
        done[passed] = criterion(images[passed], _with_pixels(networks, _keep(rollout, passed)))
    return done


def _sees_image_tokens(criterion: Criterion) -> bool:
    screen = getattr(criterion, "screen", None)
    return any(getattr(part, "sees_image_tokens", True) for part in (criterion, screen) if part is not None)


def _keep(rollout: Rollout, mask: Tensor) -> Rollout:
    """Return the rollout of a mask (b,) of its images; it has neither pixels nor attention yet."""
    return rollout._replace(
        image_tokens=_keep_rows(rollout.image_tokens, mask),
        latents=rollout.latents[mask],
        codes=rollout.codes[mask],
        ids=_keep_rows(rollout.ids, mask),
        prediction=rollout.prediction[mask],
        predicted_codes=rollout.predicted_codes[mask],
        base=_keep_base(rollout.base, mask),
    )


def _keep_base(base: BaseTokens, mask: Tensor) -> BaseTokens:
    return BaseTokens(base.features[mask], base.codes[mask], _keep_rows(base.ids, mask), base.loss)


def _keep_rows(tensor: Tensor | None, mask: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[mask]


def _values(rollout: Rollout) -> Tensor:
    """Return what a token file keeps: ids (b, k), or continuous codes (b, k, z)."""
    return rollout.codes if rollout.ids is None else rollout.ids


def encode_halting(
    networks: Networks,
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
    for step in roll_out(networks, images, reconstruct=pixels, halting=halting, generator=generator):
        last = step.iteration == networks.distillation.config.iterations
        for row, satisfied in enumerate(criterion(images, step).tolist()):
            if encoded[row] is None and (satisfied or last):
                encoded[row] = Encoded(_values(step)[row], satisfied)
        if all(tokens is not None for tokens in encoded):
            break
    return [tokens for tokens in encoded if tokens is not None]


def encode_all_lengths(networks: Networks, images: Tensor) -> tuple[list[list[Encoded]], np.ndarray]:
    """Encode every image at every length; also return the L1 (images, lengths) of each reconstruction."""
    tokens: list[list[Encoded]] = [[] for _ in images]
    losses = []
    for step in roll_out(networks, images, image_tokens=False):
        assert step.reconstruction is not None
        for image, value in zip(tokens, _values(step), strict=True):
            image.append(Encoded(value, True))
        losses.append(reduce((step.reconstruction.clamp(0, 1) - images).abs(), "b c h w -> b", "mean"))
    return tokens, torch.stack(losses, dim=1).double().cpu().numpy()


def encode_to_budget(networks: Networks, batches: Iterable[Tensor], mean_length: float) -> list[Encoded]:
    """Encode a set so that its mean length is at most `mean_length` and its total L1 as low as that allows."""
    tokens: list[list[Encoded]] = []
    losses: list[np.ndarray] = []
    for images in batches:
        of_batch, losses_of_batch = encode_all_lengths(networks, images)
        tokens += of_batch
        losses.append(losses_of_batch)
    if not tokens:
        return []
    lengths = networks.distillation.config.lengths
    chosen = allocate_budget(np.concatenate(losses), lengths, mean_length * len(tokens))
    return [image[index] for image, index in zip(tokens, chosen, strict=True)]
