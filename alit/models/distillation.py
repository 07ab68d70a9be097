"""Recurrent distillation: encoder, latent quantizer, decoder and heads (paper, section 3)."""

from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from alit.models.base import BaseTokens, Repetitions
from alit.models.linear_path import LatentLinearPath, start_near_zero
from alit.models.loading import BaseConfig
from alit.models.quantizer import VectorQuantizer
from alit.models.transformer import Transformer, free_parameter, initialize
from alit.settings import Settings

MOST_LINEAR_NUMBERS = 8192  # half a gigabyte of covariances in float64


class DistillationConfig(Settings):
    """The recurrent encoder and the latent decoder (paper, section 3; docs/paper-or-code.md)."""

    width: PositiveInt  # d
    layers: Repetitions  # encoder and decoder have as many each
    heads: PositiveInt
    tokens_per_iteration: PositiveInt  # s
    iterations: Repetitions  # T
    quantize: bool
    latent_codebook_size: PositiveInt  # m; unused when latents are continuous
    latent_code_size: PositiveInt  # numbers per latent token; 12 as published
    prediction: Literal["logits", "similarity", "regression"]
    similarity_scale: PositiveFloat  # only for prediction: similarity; logits = -scale * squared distance
    # More latents come from another iteration that rewrites all (the paper), or are a longer prefix of one encoding,
    # which the transformer then makes in so many passes (`NestedEncoder`). Older checkpoints do not say.
    growth: Literal["recurrent", "nested"] = "recurrent"
    passes: Repetitions = 1  # nested only
    # Principal components of the image tokens around the networks (`LatentLinearPath`), of continuous latents only.
    linear_path: bool = Field(default=False, exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _parts_fit(self) -> "DistillationConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.growth == "recurrent" and self.passes > 1:
            raise ValueError(f"growth: recurrent makes one pass an iteration, found passes: {self.passes}")
        if self.linear_path and (self.quantize or self.prediction != "regression"):
            raise ValueError("linear_path is of continuous latents; set quantize: false and prediction: regression")
        return self


class TokenizerConfig(Settings):
    """Everything that fixes the shape of an adaptive tokenizer; travels with each checkpoint."""

    image_size: PositiveInt  # pixels per side
    base: BaseConfig
    distillation: DistillationConfig

    @property
    def tokens_per_iteration(self) -> int:
        """Latent tokens that each iteration appends, s."""
        return self.distillation.tokens_per_iteration

    @property
    def iterations(self) -> int:
        """Most iterations, T."""
        return self.distillation.iterations

    @property
    def quantize(self) -> bool:
        """Whether latent tokens are ids of a codebook."""
        return self.distillation.quantize

    @property
    def lengths(self) -> tuple[int, ...]:
        """Latent token counts of one image, shortest first."""
        return tuple(self.tokens_per_iteration * (t + 1) for t in range(self.iterations))

    @property
    def grid(self) -> int:
        """Image tokens per side."""
        return self.image_size // self.base.patch

    @property
    def image_tokens(self) -> int:
        """Number of image tokens, n."""
        return self.grid**2

    @model_validator(mode="after")
    def _parts_fit(self) -> "TokenizerConfig":
        if self.image_size % self.base.patch:
            raise ValueError(f"image_size {self.image_size} must be a multiple of the patch {self.base.patch}")
        if self.base.codebook_size is None and self.distillation.prediction != "regression":
            raise ValueError(
                f"a {self.base.kind} base without codebook has none to predict; set prediction: regression"
            )
        if self.base.code_size >= self.distillation.width:
            raise ValueError("width must exceed the base's code_size: the rest of a token is its patch embedding")
        if self.distillation.linear_path:
            self._linear_path_fits()
        return self

    def _linear_path_fits(self) -> None:
        there = self.image_tokens * self.base.code_size
        wanted = self.lengths[-1] * self.distillation.latent_code_size
        if wanted > there:
            raise ValueError(f"linear_path: expected latents of at most {there} numbers in all, found {wanted}")
        if there > MOST_LINEAR_NUMBERS:
            raise ValueError(
                f"linear_path: expected image tokens of at most {MOST_LINEAR_NUMBERS} numbers in all, found {there}: "
                "their principal components take a matrix of as many rows and columns"
            )


class Prediction(NamedTuple):
    """The latent decoder's answer for every image token."""

    scores: Tensor  # (b, n, v) logits over the base codebook, or (b, n, z) values for a continuous base
    codes: Tensor  # (b, n, z), what the base decoder receives


class LogitHead(nn.Module):
    """Logits over the base codebook; the code is their expectation, the "soft code", as published."""

    def __init__(self, width: int, codes: int) -> None:
        super().__init__()
        self.mlp = _mlp(width, codes)

    def forward(self, hidden: Tensor, codebook: Tensor) -> Prediction:
        """Predict from hidden (b, n, d) over a codebook (v, z), which gets no gradient."""
        logits = self.mlp(hidden)
        return Prediction(logits, logits.softmax(dim=-1) @ codebook.detach())


class RegressionHead(nn.Module):
    """The code itself, as published for the VAE base."""

    def __init__(self, width: int, code_size: int) -> None:
        super().__init__()
        self.mlp = _mlp(width, code_size)

    def forward(self, hidden: Tensor, codebook: Tensor | None) -> Prediction:
        """Predict from hidden (b, n, d); scores and codes are the same values."""
        codes = self.mlp(hidden)
        return Prediction(codes, codes)


class SimilarityHead(nn.Module):
    """A regressed code vector, whose logits are its scaled negative squared distances to the base codes.

    A deviation from the published logit head: at small scale a regression target teaches the latents where a
    softmax over unrelated classes does not, and the paper's cross-entropy still applies to the logits.
    """

    def __init__(self, width: int, code_size: int, scale: float) -> None:
        super().__init__()
        self.mlp = _mlp(width, code_size)
        self.scale = scale

    def forward(self, hidden: Tensor, codebook: Tensor) -> Prediction:
        """Predict from hidden (b, n, d) over a codebook (v, z), which gets no gradient."""
        codes = self.mlp(hidden)
        codebook = codebook.detach()
        # The squared norm of the prediction is the same for every class: the softmax does not see it.
        distances = codebook.square().sum(dim=-1) - 2 * codes @ codebook.T
        return Prediction(-self.scale * distances, codes)


def build_head(config: TokenizerConfig) -> LogitHead | RegressionHead | SimilarityHead:
    """Return the head that `config.distillation.prediction` names."""
    width = config.distillation.width
    if config.distillation.prediction == "logits":
        assert config.base.codebook_size is not None
        return LogitHead(width, config.base.codebook_size)
    if config.distillation.prediction == "similarity":
        return SimilarityHead(width, config.base.code_size, config.distillation.similarity_scale)
    return RegressionHead(width, config.base.code_size)


def _mlp(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, outputs))


def chosen_probability(prediction: Prediction, ids: Tensor) -> Tensor:
    """Return the probability (b, n) that a prediction over the codebook gives to the base ids (b, n)."""
    return torch.gather(prediction.scores.softmax(dim=-1), -1, ids[..., None])[..., 0]


class LatentEncoder(nn.Module):
    """The recurrent encoder: distills image tokens into latents (paper, section 3).

    One transformer is applied again and again to the sequence of class token, image tokens and latents
    (b, 1 + n + k, d). Each iteration appends the same learned latents, told apart by a learned embedding of it.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        settings = config.distillation
        width, patch, new = settings.width, config.base.patch, settings.tokens_per_iteration
        self.image_tokens = config.image_tokens
        self.patch_embedding = nn.Conv2d(3, width - config.base.code_size, patch, stride=patch)
        self.class_token = free_parameter(1, width)
        self.mask_token = free_parameter(1, 1, width)
        self.positions = free_parameter(1 + config.image_tokens, width)
        self.new_latents = free_parameter(new, width)
        self.latent_positions = free_parameter(new, width)
        self.iteration_embedding = free_parameter(settings.iterations, new, width)
        self.norm_first = nn.LayerNorm(width)
        self.norm_next = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        self.transformer = Transformer(width, settings.layers, settings.heads)
        self.to_code = nn.Linear(width, settings.latent_code_size)
        initialize(self)

    @property
    def latent_rows(self) -> slice:
        """Where latents stand in a sequence: behind the class token and the image tokens."""
        return slice(1 + self.image_tokens, None)

    def start(self, images: Tensor, features: Tensor) -> Tensor:
        """Return the class and image tokens (b, 1 + n, d).

        Args:
            images: (b, 3, h, w) in [0, 1], for the learned patch embedding.
            features: (b, n, z), the base tokenizer's view of the same images.
        """
        patches = rearrange(self.patch_embedding(images), "b d h w -> b (h w) d")
        tokens = F.normalize(torch.cat([features, patches], dim=-1), dim=-1)
        class_token = repeat(self.class_token, "one d -> b one d", b=len(tokens))
        return torch.cat([class_token, tokens], dim=1) + self.positions

    def iterate(self, sequence: Tensor, iteration: int, rows: slice = slice(None)) -> Tensor:
        """Append new latents to the sequence of the iteration before and refine all tokens together.

        Args:
            sequence: (b, 1 + n + k - s, d); the residual stream that the last iteration left, or `start`'s.
            iteration: 1-based.
            rows: the rows that the caller needs of the output; where no iteration follows, `latent_rows` will do.
        """
        new = self.new_latents + self.latent_positions + self.iteration_embedding[iteration - 1]
        sequence = torch.cat([sequence, repeat(new, "s d -> b s d", b=len(sequence))], dim=1)
        norm = self.norm_first if iteration == 1 else self.norm_next
        return self.transformer(norm(sequence), rows=rows).tokens

    def latents(self, sequence: Tensor, iteration: int) -> Tensor:
        """Return an iteration's latents (b, k, d) from what `iterate` returned: the whole sequence or `latent_rows`."""
        return sequence[:, -iteration * len(self.new_latents) :]

    def read_out(self, latents: Tensor) -> Tensor:
        """Factorize latents (b, k, d) into raw codes (b, k, z), not yet quantized or normalized."""
        return self.to_code(self.norm_out(latents))

    def mask(self, sequence: Tensor, halted: Tensor) -> Tensor:
        """Replace the halted (b, n) image tokens of a sequence (b, 1 + n + k, d) by the mask token at their place."""
        first, last = 1, 1 + self.image_tokens
        masks = self.mask_token + self.positions[first:last]
        image_tokens = torch.where(halted[..., None], masks, sequence[:, first:last])
        return torch.cat([sequence[:, :first], image_tokens, sequence[:, last:]], dim=1)


class NestedEncoder(LatentEncoder):
    """The one-pass counterpart of the recurrent encoder: nested latents, of which any prefix is an encoding.

    Not in the paper: the baseline that recurrence has to beat. The first iteration makes all latents of the longest
    length, later ones have nothing left to do; training decodes random prefixes (nested dropout, Rippel et al. 2014),
    so that the first carry most. With `passes` above one the transformer is applied that often to the same tokens: as
    much computation as recurrence, without its growing memory.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        longest = {"tokens_per_iteration": config.lengths[-1], "iterations": 1}
        at_once = config.distillation.model_copy(update=longest)
        super().__init__(config.model_copy(update={"distillation": at_once}))
        self.lengths = config.lengths
        self.passes = config.distillation.passes

    def iterate(self, sequence: Tensor, iteration: int, rows: slice = slice(None)) -> Tensor:
        """Append all latents to the sequence of `start` in the first iteration; return later ones as they are.

        Image tokens stay those of `start`: nothing reads them afterwards, so the last layer does not compute them.
        """
        if iteration > 1:
            return sequence[:, rows]
        new = self.new_latents + self.latent_positions + self.iteration_embedding[0]
        tokens = torch.cat([sequence, repeat(new, "k d -> b k d", b=len(sequence))], dim=1)
        tokens = self.norm_first(tokens)
        for _ in range(self.passes - 1):
            tokens = self.norm_next(self.transformer(tokens).tokens)
        latents = self.transformer(tokens, rows=self.latent_rows).tokens
        return torch.cat([sequence, latents], dim=1)[:, rows]

    def latents(self, sequence: Tensor, iteration: int) -> Tensor:
        """Return the prefix (b, k, d) that is an iteration's encoding."""
        return sequence[:, -self.lengths[-1] :][:, : self.lengths[iteration - 1]]


class Decoded(NamedTuple):
    """What the latent decoder predicts for every image token."""

    prediction: Prediction
    attention: Tensor | None  # (layers, b, n queries, k keys): how image tokens look at latents, head-averaged


class LatentDecoder(nn.Module):
    """Masked image tokens attend to latents, and a head reads their codes."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        settings = config.distillation
        width = settings.width
        self.image_tokens = config.image_tokens
        self.class_token = free_parameter(1, width)
        self.mask_token = free_parameter(1, 1, width)
        self.positions = free_parameter(1 + config.image_tokens, width)
        self.from_code = nn.Linear(settings.latent_code_size, width)
        self.latent_positions = free_parameter(config.lengths[-1], width)
        self.norm_in = nn.LayerNorm(width)
        self.transformer = Transformer(width, settings.layers, settings.heads)
        self.norm_out = nn.LayerNorm(width)
        self.head = build_head(config)
        initialize(self)

    def forward(self, codes: Tensor, codebook: Tensor | None, *, attention: bool = False) -> Decoded:
        """Predict the image tokens from latent codes (b, k, z), for any k up to the longest length.

        Args:
            codes: (b, k, z) latent codes.
            codebook: (v, z) of the base tokenizer, or None for a continuous base.
            attention: also return how image tokens attend to latents; weights of each row sum to less than one,
                the rest goes to the class token and to the other image tokens.
        """
        batch, length, _ = codes.shape
        masks = repeat(self.mask_token, "1 1 d -> b n d", b=batch, n=self.image_tokens)
        class_token = repeat(self.class_token, "one d -> b one d", b=batch)
        image_part = torch.cat([class_token, masks], dim=1) + self.positions
        latent_part = self.from_code(codes) + self.latent_positions[:length]
        sequence = self.norm_in(torch.cat([image_part, latent_part], dim=1))
        image_rows = slice(1, 1 + self.image_tokens)
        output = self.transformer(sequence, rows=image_rows, attention=attention)
        prediction = self.head(self.norm_out(output.tokens), codebook)
        return Decoded(prediction, self._image_to_latent(output.attention))

    def _image_to_latent(self, maps: tuple[Tensor, ...] | None) -> Tensor | None:
        """Cut (image query, latent key) blocks out of each layer's map; the last layer has image rows only."""
        if maps is None:
            return None
        first, last = 1, 1 + self.image_tokens
        earlier = [layer[:, first:last, last:] for layer in maps[:-1]]
        return torch.stack([*earlier, maps[-1][:, :, last:]])


ENCODERS: dict[str, type[LatentEncoder]] = {"recurrent": LatentEncoder, "nested": NestedEncoder}


class Halting(NamedTuple):
    """When an image token counts as distilled well enough to be masked; the defaults are the published ones."""

    probability: float = 0.55  # VQGAN base: least probability of the base id
    distance: float = 0.025  # VAE base: most mean absolute error of the code


class BatchRows(NamedTuple):
    """The rows of a batch that are computed together, where memory does not hold the whole."""

    start: int
    stop: int
    size: int  # of the whole batch

    @property
    def share(self) -> float:
        """Share of the batch."""
        return (self.stop - self.start) / self.size

    def of(self, values: Tensor) -> Tensor:
        """Return these rows of the whole batch's values (size, ...)."""
        return values[self.start : self.stop]


class Distilled(NamedTuple):
    """One iteration of the rollout."""

    iteration: int  # 1-based
    length: int  # latent tokens so far, k
    image_tokens: Tensor | None  # (b, n, d), refined by the encoder; None at `last`, which computes latents only
    latents: Tensor  # (b, k, d), before the read-out norm
    raw_codes: Tensor  # (b, k, z), read out, before the quantizer
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    quantizer_loss: Tensor  # scalar, zero when continuous
    prediction: Prediction | None  # None where decoding was not asked for
    attention: Tensor | None  # (layers, b, n, k)
    halted: Tensor | None  # (b, n) bool, image tokens that were masked before this iteration; None where halting is off


class ReadOut(NamedTuple):
    """Latents read out as codes."""

    raw_codes: Tensor  # (b, k, z), before the quantizer
    codes: Tensor  # (b, k, z), as the decoder receives them
    ids: Tensor | None  # (b, k) int64, or None when continuous
    quantizer_loss: Tensor  # scalar, zero when continuous


def _linear_path(config: TokenizerConfig, *last_layers: nn.Module) -> LatentLinearPath | None:
    """Return the path that the settings ask for, and shrink the last layers of the networks around which it lies."""
    settings = config.distillation
    if not settings.linear_path:
        return None
    for layer in last_layers:
        assert isinstance(layer, nn.Linear)
        start_near_zero(layer)
    return LatentLinearPath(config.image_tokens, config.base.code_size, config.lengths[-1], settings.latent_code_size)


class Distillation(nn.Module):
    """Everything that is trained on top of the frozen base tokenizer in stage 1."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        settings = config.distillation
        self.encoder = ENCODERS[settings.growth](config)
        self.decoder = LatentDecoder(config)
        self.quantizer = (
            VectorQuantizer(settings.latent_codebook_size, settings.latent_code_size, unit=True)
            if settings.quantize
            else None
        )
        self.linear = _linear_path(config, self.encoder.to_code, self.decoder.head.mlp[-1])

    def iterate(
        self,
        images: Tensor,
        base_tokens: BaseTokens,
        codebook: Tensor | None,
        *,
        last: int | None = None,
        decode: Collection[int] | None = None,
        quantize: bool = True,
        attention: bool = False,
        halting: Halting | None = None,
        generator: torch.Generator | None = None,
        rows: BatchRows | None = None,
    ) -> Iterator[Distilled]:
        """Roll the encoder out, yielding one `Distilled` per iteration; stop iterating to stop paying.

        Args:
            images: (b, 3, h, w) in [0, 1].
            base_tokens: the base tokenizer's tokens of the same images.
            codebook: (v, z) of the base tokenizer, or None for a continuous base.
            last: the 1-based iteration to end with, where its latents are all that is needed: its last layer
                computes no image tokens. None runs all iterations and yields the image tokens of each.
            decode: 1-based iterations whose image tokens the decoder predicts; None decodes all.
            quantize: False bypasses the latent quantizer, as continuous warm-up of a quantized model does.
            attention: keep the decoder's maps from image tokens to latents.
            halting: mask well-predicted image tokens between iterations; needs `generator`, and every iteration
                is decoded. Not sticky: each iteration masks again.
            generator: source of the Bernoulli draws of halting, on the images' device.
            rows: which rows of a batch the images are, where it is computed in parts: halting then draws for them what
                it would in the whole batch from a generator in the same state.
        """
        sequence = self.encoder.start(images, base_tokens.features)
        first_latent = sequence.shape[1]
        halted = None if halting is None else sequence.new_zeros(len(sequence), first_latent - 1, dtype=torch.bool)
        for iteration in range(1, (last or self.config.iterations) + 1):
            if iteration == last:
                image_tokens, output = None, self.encoder.iterate(sequence, iteration, self.encoder.latent_rows)
            else:
                output = sequence = self.encoder.iterate(sequence, iteration)
                image_tokens = sequence[:, 1:first_latent]
            latents = self.encoder.latents(output, iteration)
            read = self.read(latents, base_tokens.features, quantize=quantize)
            wanted = decode is None or iteration in decode or halting is not None
            decoded = self.decode(read.codes, codebook, attention=attention) if wanted else None
            yield Distilled(
                iteration,
                latents.shape[1],
                image_tokens,
                latents,
                read.raw_codes,
                read.codes,
                read.ids,
                read.quantizer_loss,
                decoded.prediction if decoded else None,
                decoded.attention if decoded else None,
                halted,
            )
            if halting is not None and decoded is not None and iteration != last:
                halted = draw_halted(decoded.prediction, base_tokens, halting, generator, rows)
                sequence = self.encoder.mask(sequence, halted)

    def read(self, latents: Tensor, features: Tensor, *, quantize: bool = True) -> ReadOut:
        """Read latents (b, k, d) out as codes, quantized where the settings and `quantize` say so.

        Args:
            latents: the encoder's.
            features: (b, n, z), the base tokenizer's view of the same images, for a linear path.
            quantize: False bypasses the quantizer.
        """
        raw_codes = self.raw_codes(latents, features)
        if self.quantizer is None:
            return ReadOut(raw_codes, raw_codes, None, raw_codes.new_zeros(()))
        if not quantize:  # as long as codes are, so that the decoder keeps its range when the quantizer joins
            return ReadOut(raw_codes, F.normalize(raw_codes, dim=-1), None, raw_codes.new_zeros(()))
        quantized = self.quantizer(raw_codes)
        return ReadOut(raw_codes, quantized.codes, quantized.ids, quantized.loss)

    def raw_codes(self, latents: Tensor, features: Tensor) -> Tensor:
        """Return the codes (b, k, z) of latents (b, k, d), not yet quantized; see `read`."""
        codes = self.encoder.read_out(latents)
        return codes if self.linear is None else codes + self.linear.encode(features, latents.shape[1])

    def decode(self, codes: Tensor, codebook: Tensor | None, *, attention: bool = False) -> Decoded:
        """Predict the image tokens from latent codes (b, k, z), for any k; see `LatentDecoder.forward`."""
        decoded: Decoded = self.decoder(codes, codebook, attention=attention)
        if self.linear is None:
            return decoded
        predicted = decoded.prediction.codes + self.linear.decode(codes)
        return decoded._replace(prediction=Prediction(predicted, predicted))


def draw_halted(
    prediction: Prediction,
    base_tokens: BaseTokens,
    halting: Halting,
    generator: torch.Generator | None,
    rows: BatchRows | None = None,
) -> Tensor:
    """Return which image tokens (b, n) to mask.

    VQGAN base: a token whose base id has probability p >= `halting.probability` is masked with probability p.
    VAE base: a token is masked when its code's mean absolute error is below `halting.distance` (the paper's intent;
    the published code never masks there).
    """
    if base_tokens.ids is None:
        return (prediction.codes - base_tokens.codes).abs().mean(dim=-1) < halting.distance
    probability = chosen_probability(prediction, base_tokens.ids).detach()
    rows = rows or BatchRows(0, len(probability), len(probability))
    draws = torch.rand(rows.size, *probability.shape[1:], generator=generator, device=probability.device)
    return (probability >= halting.probability) & (rows.of(draws) < probability)
