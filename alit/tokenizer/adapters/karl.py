"""KARL, by the call signatures of its repository.

No index has the package: put a checkout of ShivamDuggal4/karl, and its folder base_tokenizers, on Python's path. Its
code runs on a GPU alone, and reads its settings relative to the checkout, which is to be the working directory.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alit.errors import CheckpointError, ConfigError
from alit.models.published_layout import read_file, state_dict
from alit.tokenizer.adapters.checkout import import_checkout
from alit.tokenizer.protocol import Reconstruction, bits_per_id

HALTED = 0.75  # a latent whose probability of halting is above is masked from the decoder
LOSSES = (0.18, 0.14, 0.1, 0.09, 0.07, 0.05, 0.03)


class KARLTokenizer(nn.Module):
    """KARL (Duggal et al., 2025): one pass, and a number of tokens of its own for each image and wanted loss.

    Its "lengths" are the places of the wanted losses, coarsest first, as a codec's are quality settings; `tokens` says
    how many each image kept. Which of the latents are kept is stored as well: one bit of each.
    """

    name = "KARL"
    batch_size = 1  # its encoder prints a loss that it takes from one image

    def __init__(
        self,
        checkpoint: str,
        *,
        model: str = "karl_small",
        base: str = "vqgan",
        image_size: int = 256,
        losses: tuple[float, ...] = LOSSES,
        budget: int = 256,
    ) -> None:
        """Load the network.

        Args:
            checkpoint: its published file of weights.
            model: a function of its package `kolmogorov_tokenizers`.
            base: id of its base tokenizer.
            image_size: pixels per side.
            losses: wanted mean absolute errors of images in [0, 1], descending.
            budget: latent tokens that it may keep, at most.

        Raises:
            ConfigError: the losses do not descend, or there is no such package or function.
            CheckpointError: the file is none of this network.
        """
        super().__init__()
        if not losses or list(losses) != sorted(set(losses), reverse=True):
            raise ConfigError(f"losses: expected descending numbers, found {losses}")
        make = import_checkout("kolmogorov_tokenizers", model, "ShivamDuggal4/karl")
        self.network = make(
            base_tokenizer_args={"id": base, "is_requires_grad": False},
            quantize_latent=True,
            train_stage="full_finetuning",
        )
        weights = state_dict(read_file(Path(checkpoint)), Path(checkpoint))
        absent = [
            name for name in self.network.load_state_dict(weights, strict=False).missing_keys if "losses" not in name
        ]
        if absent:
            raise CheckpointError(f"{checkpoint}: missing tensor for {absent[0]}")
        self.image_size, self.losses, self.budget = image_size, tuple(losses), budget
        self.lengths = tuple(range(1, len(losses) + 1))
        self._halting: list[Tensor] = []
        self.network.halting_mlp.register_forward_hook(self._keep_halting)

    @property
    def base_tokens(self) -> int:
        """The most latent tokens of an image."""
        return self.budget

    def _keep_halting(self, module: nn.Module, arguments: Any, logits: Tensor) -> None:
        self._halting.append(logits[..., 0].sigmoid())

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield the reconstruction of images (b, 3, h, w) in [0, 1], b one, for every wanted loss."""
        for length, loss in zip(self.lengths, self.losses, strict=True):
            self._halting.clear()
            with contextlib.redirect_stdout(io.StringIO()):
                _, rebuilt, _ = self.network.encode(
                    images, input_token_budget=[self.budget], desired_reconstruction_quality=loss
                )
            tokens = (self._halting[-1] <= HALTED).sum(dim=1).float().cpu()
            bits = tokens * bits_per_id(int(self.network.quantize.codebook_size)) + self.budget
            yield Reconstruction(length, bits, rebuilt[-1].float().clamp(0, 1), tokens=tokens)
