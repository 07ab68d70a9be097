"""The one-pass counterpart of the recurrent encoder: nested latents, of which any prefix is an encoding.

Not in the paper: the baseline that recurrence has to beat. All latents of the longest length are made at once, and
training decodes random prefixes of them (nested dropout, Rippel et al. 2014), so that the first carry most. Networks,
parameters and training are those of the recurrent tokenizer, but for the tables of learned latents.
"""

import torch
from einops import repeat
from torch import Tensor

from alit.config.s_distillation import TokenizerConfig
from alit.models.latent_encoder import LatentEncoder


class NestedEncoder(LatentEncoder):
    """Makes the latents of every length in the first iteration; later ones have nothing left to do.

    With `passes` above one the transformer is applied that often to the same tokens: as much computation as
    recurrence, without its growing memory.
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
