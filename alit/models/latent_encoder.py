"""The recurrent distillation encoder (paper, section 3; published-code facts, 2.3 and 2.4).

One transformer is applied again and again to [class token, image tokens, latents]; each iteration appends the same
set of learned latents, told apart by a learned embedding of the iteration.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from alit.config.s_distillation import TokenizerConfig
from alit.models.transformer import Transformer, free_parameter, initialise


class LatentEncoder(nn.Module):
    """Distils image tokens into latents; the sequence is (b, 1 + n + k, d) with the class token first."""

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
        initialise(self)

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
        """Factorise latents (b, k, d) into raw codes (b, k, z), not yet quantised or normalised."""
        return self.to_code(self.norm_out(latents))

    def mask(self, sequence: Tensor, halted: Tensor) -> Tensor:
        """Replace the halted (b, n) image tokens of a sequence (b, 1 + n + k, d) by the mask token at their place."""
        first, last = 1, 1 + self.image_tokens
        masks = self.mask_token + self.positions[first:last]
        image_tokens = torch.where(halted[..., None], masks, sequence[:, first:last])
        return torch.cat([sequence[:, :first], image_tokens, sequence[:, last:]], dim=1)
