"""The adaptive tokenizer: a base tokenizer and the recurrent distillation on top of it, in one object."""

import math
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from alit.config import TokenizerConfig, parse_settings
from alit.criteria import Criterion
from alit.encoding import Encoded, check_images, encode_to_budget, encode_to_length, encode_until
from alit.errors import CheckpointError, ConfigError, TokenFileError
from alit.fingerprint import Fingerprint
from alit.models.base import BaseTokens
from alit.models.build import build_base
from alit.models.distillation import Distillation, Distilled, Halting
from alit.protocol import Reconstruction
from alit.rollout import Rollout
from alit.tokens import TokenSet


class AdaptiveTokenizer(
    nn.Module,
    PyTorchModelHubMixin,
    coders={
        TokenizerConfig: (
            lambda config: config.model_dump(mode="json"),
            lambda content: parse_settings(TokenizerConfig, content, source="config.json"),
        )
    },
):
    """Adaptive length image tokenizer (Duggal et al., ICLR 2025).

    Images are float32 (b, 3, h, w) in [0, 1], square, of `config.image_size` pixels a side.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
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
    def bits_per_token(self) -> int:
        """Bits of one latent token: an id's, or 32 a number when continuous."""
        settings = self.config.distillation
        if settings.quantize:
            return math.ceil(math.log2(settings.latent_codebook_size))
        return 32 * settings.latent_code_size

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
            generator: source of halting's draws.
        """
        tokens = self.base.encode(images)
        last = None if image_tokens else self.config.iterations
        steps = self.distillation.iterate(
            images, tokens, self.base.codebook, last=last, attention=attention, halting=halting, generator=generator
        )
        for step in steps:
            yield self._rollout(step, tokens, reconstruct)

    def _rollout(self, step: Distilled, base_tokens: BaseTokens, reconstruct: bool) -> Rollout:
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
            base_tokens,
            self.base.decode(step.prediction.codes) if reconstruct else None,
            step.attention,
        )

    @torch.no_grad()
    def encode(
        self,
        images: Tensor,
        *,
        length: int | None = None,
        until: Criterion | None = None,
        budget: float | None = None,
        batch_size: int = 64,
    ) -> TokenSet:
        """Encode images to tokens; exactly one of `length`, `until` and `budget` says how many.

        Deterministic, and the result for an image does not depend on its batch companions.

        Args:
            images: (b, 3, h, w) floats in [0, 1] of `image_size` pixels a side; b may be zero.
            length: as many tokens for every image; one of `lengths`.
            until: the fewest tokens that satisfy a criterion, per image (see `alit.criteria`); an image that never
                satisfies it keeps the longest length, and `TokenSet.satisfied` says so.
            budget: mean tokens per image over the whole set, spent where they lower the total L1 most.
            batch_size: images processed at once.

        Raises:
            ConfigError: not exactly one of the three is given, or the length is not one of `lengths`.
            DataError: the images are of another shape, not finite or outside [0, 1], or the budget is too small.
        """
        if sum(choice is not None for choice in (length, until, budget)) != 1:
            raise ConfigError("encode expects exactly one of length=, until= and budget=")
        check_images(images, self.image_size)
        batches = images.split(batch_size) if len(images) else ()
        if budget is not None:
            encoded = encode_to_budget(self, iter(batches), budget)
        elif until is not None:
            encoded = [tokens for batch in batches for tokens in encode_until(self, batch, until)]
        else:
            assert length is not None
            encoded = [tokens for batch in batches for tokens in encode_to_length(self, batch, length)]
        return self._token_set(encoded)

    @torch.no_grad()
    def decode(self, tokens: TokenSet, *, batch_size: int = 64) -> Tensor:
        """Rebuild images (b, 3, h, w) in [0, 1] from tokens of any mixture of lengths.

        Raises:
            TokenFileError: the tokens come from another tokenizer.
        """
        if tokens.model != self.fingerprint:
            raise TokenFileError(
                f"expected tokens of the tokenizer {self.fingerprint}, found tokens of {tokens.model}; "
                "decode them with the checkpoint that encoded them"
            )
        device = next(self.parameters()).device
        images = torch.empty(len(tokens), 3, self.image_size, self.image_size, device=device)
        for length in tokens.lengths.unique().tolist():
            for rows in (tokens.lengths == length).nonzero()[:, 0].split(batch_size):
                values = torch.stack([image.values for image in tokens[rows]]).to(device)
                codes = values if self.distillation.quantizer is None else self.distillation.quantizer.lookup(values)
                prediction = self.distillation.decoder(codes, self.base.codebook).prediction
                images[rows.to(device)] = self.base.decode(prediction.codes).clamp(0, 1).float()
        return images

    @property
    def fingerprint(self) -> str:
        """Digest of the settings and weights, 16 hexadecimal digits; tokens carry it."""
        return self._fingerprint(self.config.model_dump_json(), self.state_dict())

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> "AdaptiveTokenizer":
        """Load a checkpoint from a folder or a hub id, in eval mode; see huggingface_hub's mixin for the options.

        Raises:
            CheckpointError: config.json or the weights are missing, damaged, or do not fit each other.
            ConfigError: config.json has an unknown, missing or impossible setting.
        """
        try:
            return super().from_pretrained(*arguments, **options)
        except (JSONDecodeError, UnicodeDecodeError, TypeError) as error:
            raise CheckpointError(f"config.json of {arguments or options} cannot be read: {error}") from error

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, config: TokenizerConfig | None = None, map_location: str = "cpu", **options: Any
    ) -> "AdaptiveTokenizer":
        """Load the weights for `from_pretrained`, from a folder or the hub.

        Raises:
            CheckpointError: a file is missing, truncated, or the weights do not fit config.json.
        """
        path = Path(model_id) / SAFETENSORS_SINGLE_FILE
        if not Path(model_id).is_dir():
            revision, cache, token = (options.get(name) for name in ("revision", "cache_dir", "token"))
            name = SAFETENSORS_SINGLE_FILE
            path = Path(hf_hub_download(model_id, name, revision=revision, cache_dir=cache, token=token))
        if config is None or not path.is_file():
            raise CheckpointError(f"expected config.json and {SAFETENSORS_SINGLE_FILE} in {model_id}, found not both")
        tokenizer = cls(config)
        try:
            tokenizer.load_state_dict(load_file(path))
        except (RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{path} does not hold the weights that config.json describes: {error}") from error
        return tokenizer.to(map_location).eval()

    def _token_set(self, encoded: list[Encoded]) -> TokenSet:
        settings = self.config.distillation
        empty = torch.empty(0, dtype=torch.int64) if settings.quantize else torch.empty(0, settings.latent_code_size)
        values = [tokens.values.cpu() for tokens in encoded]
        return TokenSet(
            lengths=torch.tensor([len(value) for value in values], dtype=torch.int64),
            values=torch.cat([empty, *values]),
            satisfied=torch.tensor([tokens.satisfied for tokens in encoded], dtype=torch.bool),
            codebook_size=settings.latent_codebook_size if settings.quantize else None,
            model=self.fingerprint,
        )

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield reconstructions in [0, 1] at every length, for the sweep."""
        for step in self.rollout(images, image_tokens=False):
            assert step.reconstruction is not None
            bits = torch.full((len(images),), float(step.length * self.bits_per_token))
            yield Reconstruction(step.length, bits, step.reconstruction.clamp(0, 1))


__all__ = ["AdaptiveTokenizer", "Halting", "Rollout"]
