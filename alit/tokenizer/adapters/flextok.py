"""FlexTok, by the call signatures of its repository.

No index has the package: put a checkout of apple/ml-flextok on Python's path, or pip install it from there.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from alit.errors import ConfigError
from alit.tokenizer.adapters.checkout import from_hub, import_checkout, require_ascending
from alit.tokenizer.protocol import Reconstruction, bits_per_id, bits_per_image


class FlexTokTokenizer(nn.Module):
    """FlexTok (Bachmann et al., ICML 2025): nested token sequences, and a decoder that draws (rectified flow)."""

    name = "FlexTok"
    value_range = (-1.0, 1.0)
    draws = True

    def __init__(
        self,
        pretrained: str,
        *,
        image_size: int = 256,
        lengths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
        timesteps: int = 20,
        guidance_scale: float = 7.5,
        perform_norm_guidance: bool = True,
    ) -> None:
        """Load the network.

        Args:
            pretrained: a folder or a hub id, such as EPFL-VILAB/flextok_d18_d28_in1k.
            image_size: pixels per side that it was trained at.
            lengths: ascending; the decoder is run once for each.
            timesteps: denoising steps; this and the next two as its own examples have them.
            guidance_scale: of classifier-free guidance.
            perform_norm_guidance: whether guidance is adaptive projected guidance.
        """
        super().__init__()
        self.lengths = require_ascending(lengths)
        self.network = from_hub(
            import_checkout("flextok.flextok_wrapper", "FlexTokFromHub", "apple/ml-flextok"), pretrained
        )
        self.image_size = image_size
        self._decoding = {
            "vae_image_sizes": image_size // int(self.network.downsample_factor),
            "timesteps": timesteps,
            "guidance_scale": guidance_scale,
            "perform_norm_guidance": perform_norm_guidance,
            "verbose": False,
        }

    @property
    def base_tokens(self) -> int:
        """The most tokens of an image."""
        return self.lengths[-1]

    @property
    def codebook_size(self) -> int:
        """Number of codes: the product of the levels of its finite scalar quantizer."""
        return int(self.network.regularizer.codebook_size)

    @torch.no_grad()
    def reconstructions(self, images: Tensor, generators: Sequence[torch.Generator]) -> Iterator[Reconstruction]:
        """Yield reconstructions of images (b, 3, h, w) in [-1, 1] at every length, decoded one image at a time.

        `detokenize` takes one generator for all images of a call: with several the draws of one would depend on others.
        """
        tokens = [ids.reshape(1, -1) for ids in self.network.tokenize(images)]
        if len(tokens[0][0]) < self.lengths[-1]:
            raise ConfigError(
                f"lengths: expected at most {len(tokens[0][0])} of this network, found {self.lengths[-1]}"
            )
        for length in self.lengths:
            rebuilt = [
                self.network.detokenize([ids[:, :length]], generator=self._like(generator, images), **self._decoding)
                for ids, generator in zip(tokens, generators, strict=True)
            ]
            bits = bits_per_image(images, length * bits_per_id(self.codebook_size))
            ids = torch.cat(tokens)[:, :length].long()
            yield Reconstruction(length, bits, torch.cat(rebuilt).float().clamp(-1, 1), ids)

    @staticmethod
    def _like(generator: torch.Generator, images: Tensor) -> torch.Generator:
        """Return a generator on the device of the images, begun at the image's own seed: every length draws alike."""
        return torch.Generator(images.device).manual_seed(generator.initial_seed())
