"""The latent decoder: image tokens rebuilt from latents and mask tokens (paper, section 3; facts, 2.7)."""

from typing import NamedTuple

import torch
from einops import repeat
from torch import Tensor, nn

from alit.config.s_distillation import TokenizerConfig
from alit.models.heads import Prediction, build_head
from alit.models.transformer import Transformer, free_parameter, initialise


class Decoded(NamedTuple):
    """What the latent decoder says of every image token."""

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
        initialise(self)

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
