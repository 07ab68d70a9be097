"""The adaptive tokenizer: its two networks, encoding to a `TokenSet`, and decoding one."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from alit.errors import ConfigError, DataError, TokenFileError
from alit.models.distillation import Distillation, Halting, TokenizerConfig
from alit.models.loading import build_base
from alit.tokenizer.checkpoint import CODERS, Fingerprint, HubCheckpoint
from alit.tokenizer.encoding import (
    Criterion,
    Encoded,
    FixedLength,
    Rollout,
    encode_halting,
    encode_to_budget,
    encode_to_length,
    encode_until,
    roll_out,
)
from alit.tokenizer.length_predictor import LengthPredictor, PredictedLoss, encode_predicted, first_iteration
from alit.tokenizer.protocol import AttentionStep, Reconstruction, bits_per_id, bits_per_image
from alit.tokenizer.tokens import TokenSet


class AdaptiveTokenizer(HubCheckpoint, coders=CODERS):
    """Adaptive length image tokenizer (Duggal et al., ICLR 2025).

    Images are float32 (b, 3, h, w) in [0, 1], square, of `config.image_size` pixels a side.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config)
        self.base = build_base(config.base)
        self.distillation = Distillation(config)
        self._fingerprint = Fingerprint()

    @property
    def name(self) -> str:
        """Name in tables and figures."""
        return "alit"

    @property
    def image_size(self) -> int:
        """Pixels per side."""
        return self.config.image_size

    @property
    def lengths(self) -> tuple[int, ...]:
        """Latent token counts of one image, shortest first."""
        return self.config.lengths

    @property
    def base_tokens(self) -> int:
        """The most tokens an image can get: what capacities are a share of (paper: 256, as many as image tokens)."""
        return self.config.lengths[-1]

    @property
    def device(self) -> torch.device:
        """Where the weights are; encoding and decoding happen there."""
        return next(self.parameters()).device

    @property
    def bits_per_token(self) -> int:
        """Bits of one latent token: an id's, or 32 a number when continuous."""
        settings = self.config.distillation
        if settings.quantize:
            return bits_per_id(settings.latent_codebook_size)
        return 32 * settings.latent_code_size

    @property
    def codebook_size(self) -> int | None:
        """Number of latent codes m; None when continuous."""
        settings = self.config.distillation
        return settings.latent_codebook_size if settings.quantize else None

    def rollout(
        self,
        images: Tensor,
        *,
        reconstruct: bool = True,
        image_tokens: bool = True,
        attention: bool = False,
        halting: Halting | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Rollout]:
        """Yield one `Rollout` per iteration; a caller that stops iterating pays for no further iteration.

        Args:
            images: (b, 3, h, w) in [0, 1].
            reconstruct: also decode pixels.
            image_tokens: False spares the last iteration those of its own, which no other iteration reads.
            attention: keep the decoder's attention from image tokens to latents.
            halting: mask well-predicted image tokens between iterations (off in the paper's evaluation phase).
            generator: source of halting's draws, on the images' device.

        Raises:
            ConfigError: halting is asked for without a generator.
        """
        return roll_out(
            self,
            images,
            reconstruct=reconstruct,
            image_tokens=image_tokens,
            attention=attention,
            halting=halting,
            generator=generator,
        )

    @torch.no_grad()
    def encode(
        self,
        images: Tensor | Iterable[Tensor],
        *,
        length: int | None = None,
        until: Criterion | PredictedLoss | None = None,
        budget: float | None = None,
        batch_size: int = 64,
        halting: Halting | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenSet:
        """Encode images to tokens; exactly one of `length`, `until` and `budget` says how many.

        Without halting deterministic, and the result for an image does not depend on its batch companions.

        Args:
            images: (b, 3, h, w) floats in [0, 1] of `image_size` pixels a side, on any device; b may be zero. Or an
                iterable of such batches, for sets that memory does not hold.
            length: as many tokens for every image; one of `lengths`.
            until: the fewest tokens that satisfy a criterion, per image (see `alit.tokenizer.encoding`); an image that
                never satisfies it keeps the longest length, and `TokenSet.satisfied` says so. With `PredictedLoss`
                each image is encoded once, at a predicted length, and `satisfied` is a prediction too.
            budget: mean tokens per image over the whole set, spent where they lower the total L1 most.
            batch_size: images processed at once, where `images` is one tensor.
            halting: mask well-predicted image tokens between iterations, as the published code does; not with `budget`
                or a predicted length.
            generator: source of halting's draws, on the tokenizer's device.

        Raises:
            ConfigError: not exactly one of the three is given, the length is not one of `lengths`, halting does not
                go with the rest, or there is no length predictor for `PredictedLoss` or none that can promise it.
            DataError: the images are of another shape, not finite or outside [0, 1], or the budget is too small.
        """
        if sum(choice is not None for choice in (length, until, budget)) != 1:
            raise ConfigError("encode expects exactly one of length=, until= and budget=")
        if length is not None and length not in self.lengths:
            raise ConfigError(f"expected a length among {', '.join(map(str, self.lengths))}, found {length}")
        if halting is not None and budget is not None:
            raise ConfigError("halting goes with length= or until=, found budget=")
        if isinstance(until, PredictedLoss):
            if halting is not None:
                raise ConfigError("halting goes with length= or a criterion that tries lengths, found PredictedLoss")
            predictor = self.require_length_predictor()
            margin = predictor.margin(until)  # before any image is read
        batches = checked_batches(images, size=self.image_size, batch_size=batch_size, device=self.device)
        if budget is not None:
            return self.token_set(encode_to_budget(self, batches, budget))
        if isinstance(until, PredictedLoss):
            encode = partial(encode_predicted, self, predictor=predictor, promise=until, margin=margin)
            found = [tokens for batch in batches for tokens in encode(batch)]
            return self.token_set(found, model=predictor.record.tokenizer)
        criterion = until if length is None else FixedLength(length)
        assert criterion is not None
        if halting is not None:
            encode = partial(encode_halting, self, criterion=criterion, halting=halting, generator=generator)
        elif length is not None:
            encode = partial(encode_to_length, self, length=length)
        else:
            encode = partial(encode_until, self, criterion=criterion)
        return self.token_set([tokens for batch in batches for tokens in encode(batch)])

    def require_length_predictor(self) -> LengthPredictor:
        """Return the length predictor of these weights.

        Raises:
            ConfigError: there is none, or it was fitted for other weights.
        """
        if self.length_predictor is None:
            raise ConfigError(
                "expected a length predictor for PredictedLoss, found none with this checkpoint; fit one "
                "(docs/predicted-lengths.md), or use ReconstructionLoss"
            )
        if self.length_predictor.record.tokenizer != self.fingerprint:
            raise ConfigError(
                f"expected a length predictor of the tokenizer {self.fingerprint}, found one of "
                f"{self.length_predictor.record.tokenizer}; fit it again for these weights (docs/predicted-lengths.md)"
            )
        return self.length_predictor

    @torch.no_grad()
    def predicted_losses(self, images: Tensor) -> Tensor | None:
        """Return the predicted L1 (b, lengths) of images (b, 3, h, w) in [0, 1]; None without a length predictor."""
        if self.length_predictor is None:
            return None
        return self.require_length_predictor().predict(first_iteration(self, images).features)

    @torch.no_grad()
    def decode(self, tokens: TokenSet, *, batch_size: int = 64) -> Tensor:
        """Rebuild images (b, 3, h, w), float32 in [0, 1], from tokens of any mixture of lengths.

        Raises:
            TokenFileError: the tokens come from another tokenizer, or are not of its lengths.
        """
        if tokens.model != self.fingerprint:
            raise TokenFileError(
                f"expected tokens of the tokenizer {self.fingerprint}, found tokens of {tokens.model}; "
                "decode them with the checkpoint that encoded them"
            )
        shape, device = (len(tokens), 3, self.image_size, self.image_size), self.device
        images = torch.empty(shape, dtype=torch.float32, device=device)
        for length in tokens.lengths.unique().tolist():
            if length not in self.lengths:
                raise TokenFileError(f"expected lengths {', '.join(map(str, self.lengths))}, found {length} tokens")
            for rows in (tokens.lengths == length).nonzero()[:, 0].split(batch_size):
                values = torch.stack([image.values for image in tokens[rows]]).to(device)
                codes = values if self.distillation.quantizer is None else self.distillation.quantizer.lookup(values)
                prediction = self.distillation.decode(codes, self.base.codebook).prediction
                images[rows.to(device)] = self.base.decode(prediction.codes).clamp(0, 1).float()
        return images

    @property
    def fingerprint(self) -> str:
        """Digest of the settings and weights, 16 hexadecimal digits; tokens carry it."""
        return self._fingerprint(self.config.model_dump_json(), self.state_dict())

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compile the networks in place, with `torch.compile`'s options; names and values of the weights stay."""
        names = ("base.encoder", "base.decoder", "distillation.encoder.transformer", "distillation.decoder.transformer")
        for name in names:
            self.get_submodule(name).compile(*arguments, **options)

    def token_set(self, encoded: list[Encoded], model: str | None = None) -> TokenSet:
        """Join what `alit.tokenizer.encoding` made of images, in order; `model` is the fingerprint, where it is known.

        To find out whether weights have changed takes a twentieth of the time in which 32 images are encoded.
        """
        settings = self.config.distillation
        shape, dtype = ((0,), torch.int64) if settings.quantize else ((0, settings.latent_code_size), torch.float32)
        values = [torch.empty(shape, device="cpu"), *(tokens.values.cpu() for tokens in encoded)]
        return TokenSet(
            lengths=torch.tensor([len(value) for value in values[1:]], dtype=torch.int64, device="cpu"),
            values=torch.cat([value.to(dtype) for value in values]),
            satisfied=torch.tensor([tokens.satisfied for tokens in encoded], dtype=torch.bool, device="cpu"),
            codebook_size=self.codebook_size,
            model=model or self.fingerprint,
        )

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield reconstructions in [0, 1] at every length, for the sweep."""
        for step in self.rollout(images, image_tokens=False):
            assert step.reconstruction is not None
            bits = bits_per_image(images, step.length * self.bits_per_token)
            yield Reconstruction(step.length, bits, step.reconstruction.clamp(0, 1).float(), step.ids)

    @torch.no_grad()
    def token_ids(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield each length and the ids (b, k) of images (b, 3, h, w) at it; the decoder never runs.

        Raises:
            ConfigError: the latents are continuous.
        """
        base, iterations = self.base.encode(images), self.config.iterations
        for step in self.distillation.iterate(images, base, self.base.codebook, last=iterations, decode=()):
            if step.ids is None:
                raise ConfigError(f"expected a quantized tokenizer, found continuous latents in {self.name}")
            yield step.length, step.ids

    @torch.no_grad()
    def attention_maps(self, images: Tensor) -> Iterator[AttentionStep]:
        """Yield where the latents look at each length, for images (b, 3, h, w) in [0, 1]; the images are not rebuilt.

        A latent's map in a layer of the latent decoder is the weight with which each image token attends to it,
        averaged over heads (paper, section 5): a column of `Rollout.attention`. Published code reads the column before,
        so that its latent 0 is the last mask token.
        """
        for step in self.rollout(images, reconstruct=False, attention=True):
            assert step.attention is not None
            yield AttentionStep(step.length, rearrange(step.attention, "l b n k -> l b k n"), step.base.features)


def checked_batches(
    images: Tensor | Iterable[Tensor], *, size: int, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield float32 batches on a device.

    Args:
        images: (b, 3, size, size) floats in [0, 1] in any precision on any device, cut into batches; or an iterable
            of such tensors, each a batch as it is.
        size: pixels per side.
        batch_size: images at once, where `images` is a tensor.
        device: where the batches go, one after another.

    Raises:
        ConfigError: the batch size is not at least one.
        DataError: see `check_images`.
    """
    if batch_size < 1:
        raise ConfigError(f"expected a batch_size of at least 1, found {batch_size}")
    if isinstance(images, Tensor):
        check_images(images, size)
        images = images.split(batch_size) if len(images) else ()
    for batch in images:
        check_images(batch, size)
        yield batch.to(device, torch.float32)


def check_images(images: Any, size: int) -> None:
    """Refuse images that are not (b, 3, size, size) floats in [0, 1]; b may be zero.

    Raises:
        DataError: what was expected, what was found, and what to do.
    """
    if not isinstance(images, Tensor):
        raise DataError(
            f"expected a float tensor (b, 3, {size}, {size}), found {type(images).__name__}; "
            "read picture files with alit.load_images"
        )
    if images.ndim != 4 or images.shape[1:] != (3, size, size) or not images.is_floating_point():
        raise DataError(
            f"expected float images (b, 3, {size}, {size}), found {images.dtype} {tuple(images.shape)}; "
            "resize and center-crop them first (alit.load_images, alit.data.images.center_view)"
        )
    if len(images) == 0:
        return
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise DataError(f"expected pixel values in [0, 1], found {low:g} to {high:g}; scale 8-bit images by 1 / 255")
