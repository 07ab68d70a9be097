"""TiTok, TA-TiTok and One-D-Piece, by the call signatures of their repositories.

Neither is a package of an index: put a checkout of bytedance/1d-tokenizer, or of turingmotors/One-D-Piece, on Python's
path (PYTHONPATH). Both name their package `modeling`, so that one process has one of the two.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import torch
from einops import rearrange
from torch import Tensor, nn

from alit.errors import ConfigError
from alit.tokenizer.adapters.checkout import from_hub, import_checkout, require_ascending
from alit.tokenizer.protocol import FeatureStep, Reconstruction, bits_per_id, bits_per_image

NUMBER_BITS = 32  # of the float32 numbers of TiTok's continuous variants


class TiTokTokenizer(nn.Module):
    """TiTok (Yu et al., NeurIPS 2024): one length, ids or the mode of a Gaussian for each latent token."""

    source = ("modeling.titok", "TiTok", "bytedance/1d-tokenizer")

    def __init__(self, pretrained: str, *, image_size: int = 256) -> None:
        """Load the network.

        Args:
            pretrained: a folder or a hub id, such as yucornetto/tokenizer_titok_l32_imagenet.
            image_size: pixels per side that it was trained at; others want `resize_images`.
        """
        super().__init__()
        self.network = from_hub(import_checkout(*self.source), pretrained)
        self.name, self.image_size = self.source[1], image_size
        self.lengths: tuple[int, ...] = (int(self.network.num_latent_tokens),)

    @property
    def base_tokens(self) -> int:
        """The most latent tokens of an image."""
        return self.lengths[-1]

    @property
    def codebook_size(self) -> int | None:
        """Number of codes of a quantized variant; None of a continuous one."""
        settings = self.network.config.model.vq_model
        return int(settings.codebook_size) if self._mode == "vq" else None

    @property
    def bits_per_token(self) -> int:
        """Bits of one latent token."""
        if (size := self.codebook_size) is not None:
            return bits_per_id(size)
        return NUMBER_BITS * int(self.network.config.model.vq_model.token_size)

    @property
    def _mode(self) -> str:
        return getattr(self.network, "quantize_mode", "vq")  # earlier checkouts are quantized, and do not say so

    @torch.no_grad()
    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield reconstructions of images (b, 3, h, w) in [0, 1] at every length."""
        found = self.network.encode(images)[1]
        tokens = found["min_encoding_indices"] if self._mode == "vq" else found.mode()  # b 1 k, or b z 1 k
        for length in self.lengths:
            bits = bits_per_image(images, length * self.bits_per_token)
            kept = tokens[..., :length]
            ids = kept.flatten(1).long() if self._mode == "vq" else None
            yield Reconstruction(length, bits, self._decode(kept).float().clamp(0, 1), ids)

    @torch.no_grad()
    def features(self, images: Tensor) -> Iterator[FeatureStep]:
        """Yield the vectors that the decoder gets of images (b, 3, h, w) in [0, 1]: the codebook's, or the mode."""
        quantized, found = self.network.encode(images)
        vectors = quantized if self._mode == "vq" else found.mode()
        tokens = rearrange(vectors, "b z 1 k -> b k z").float()
        for length in self.lengths:
            yield FeatureStep(length, tokens[:, :length])

    def _decode(self, tokens: Tensor) -> Tensor:
        return self.network.decode_tokens(tokens)


class OneDPieceTokenizer(TiTokTokenizer):
    """One-D-Piece (Miwa et al., 2025): a TiTok whose token sequence may end anywhere."""

    source = ("modeling.one_d_piece", "OneDPiece", "turingmotors/One-D-Piece")

    def __init__(
        self, pretrained: str, *, image_size: int = 256, lengths: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    ) -> None:
        """Load the network.

        Args:
            pretrained: a folder or a hub id, such as turing-motors/One-D-Piece-L-256.
            image_size: pixels per side that it was trained at.
            lengths: ascending, at most the network's number of latent tokens.
        """
        super().__init__(pretrained, image_size=image_size)
        most, self.lengths = self.lengths[-1], require_ascending(lengths)
        if lengths[-1] > most:
            raise ConfigError(f"lengths: expected at most {most} of {pretrained}, found {lengths[-1]}")
        self.network.decoder.strict_length_assertion = False  # as its own inference scripts set it


class TATiTokTokenizer(TiTokTokenizer):
    """TA-TiTok (Kim et al., 2025): a TiTok whose decoder also reads a text, here one and the same for every image.

    The text is no part of the code, so that an image's own caption would be information that no bit pays for.
    """

    source = ("modeling.tatitok", "TATiTok", "bytedance/1d-tokenizer")

    def __init__(self, pretrained: str, *, image_size: int = 256, text: str = "A photo.") -> None:
        """Load the network and the features of the text.

        Args:
            pretrained: a folder or a hub id, such as turkeyju/tokenizer_tatitok_bl128_vq.
            image_size: pixels per side that it was trained at.
            text: read by CLIP (ViT-L-14-336 of OpenAI, by the package open_clip), the text encoder of its training.
        """
        super().__init__(pretrained, image_size=image_size)
        self.guidance: Tensor
        self.register_buffer("guidance", clip_features(text), persistent=False)

    def _decode(self, tokens: Tensor) -> Tensor:
        return self.network.decode_tokens(tokens, self.guidance.expand(len(tokens), -1, -1))


@torch.no_grad()
def clip_features(text: str) -> Tensor:
    """Return the last features (1, tokens, width) of a text in CLIP's text encoder."""
    if find_spec("open_clip") is None:
        raise ConfigError("expected the package open_clip for TA-TiTok's text, found none; pip install open_clip_torch")
    open_clip = import_module("open_clip")
    clip = open_clip.create_model_and_transforms("ViT-L-14-336", pretrained="openai")[0].eval()
    features = clip.token_embedding(open_clip.get_tokenizer("ViT-L-14-336")([text])) + clip.positional_embedding
    clip.transformer.batch_first = True
    return clip.ln_final(clip.transformer(features, attn_mask=clip.attn_mask)).float()
