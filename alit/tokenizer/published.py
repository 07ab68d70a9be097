"""The authors' checkpoints: the published sizes, and their tensors read into an `AdaptiveTokenizer`.

Sizes are inferred from tensor shapes. Two things are not in the tensors, and come from the published variants or an
argument: the number of attention heads, and that the VAE variant decodes scaled latents as they are. How the published
model is built: docs/paper-or-code.md.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from torch import Tensor

from alit.errors import CheckpointError
from alit.models.base import BaseTokenizerConfig
from alit.models.distillation import DistillationConfig, TokenizerConfig
from alit.models.published_layout import Rule, read_file, rename_base, state_dict
from alit.tokenizer.tokenizer import AdaptiveTokenizer


class Size(NamedTuple):
    """What tells the published models apart."""

    width: int
    layers: int  # of the encoder, and as many of the latent decoder
    heads: int


SIZES = {
    "tiny": Size(512, 8, 8),
    "small": Size(1024, 8, 8),
    "base": Size(768, 12, 12),
    "semilarge": Size(1024, 16, 16),
}


def published_config(size: str) -> TokenizerConfig:
    """Return the settings of a published size, one of `SIZES`: 256 px, VQGAN base, 32 to 256 quantized latents."""
    width, layers, heads = SIZES[size]
    base = BaseTokenizerConfig(
        kind="vqgan",
        stem=1,
        channels=128,
        multipliers=(1, 1, 2, 2, 4),
        blocks=2,
        code_size=256,
        codebook_size=1024,
        unit_codes=False,
        latent_scale=1.0,
        sample_posterior=False,
        rescale_decode=False,
        level_attention=False,
    )
    distillation = DistillationConfig(
        width=width,
        layers=layers,
        heads=heads,
        tokens_per_iteration=32,
        iterations=8,
        quantize=True,
        latent_codebook_size=4096,
        latent_code_size=12,
        prediction="logits",
        similarity_scale=10.0,
    )
    return TokenizerConfig(image_size=256, base=base, distillation=distillation)


HEADS_BY_SIZE = {(size.width, size.layers): size.heads for size in SIZES.values()}
BASE_PREFIX = re.compile(r"^base_tokenizer\.(?:vqgan|vae)\.")
IGNORED = re.compile(r"^(gan_losses|discriminator|perceptual_loss)\b|^base_tokenizer\.vae\.loss\.")


_TRANSFORMER = [
    Rule(r"^(encoder|decoder)\.transformer\.(\d+)\.", r"distillation.\1.transformer.blocks.\2."),
    Rule(r"\.ln_1\.", ".norm_attention."),
    Rule(r"\.ln_2\.", ".norm_mlp."),
    Rule(r"\.attn\.in_proj_", ".attention.qkv."),
    Rule(r"\.attn\.out_proj\.", ".attention.out."),
    Rule(r"\.mlp\.c_fc\.", ".mlp.0."),
    Rule(r"\.mlp\.c_proj\.", ".mlp.2."),
]
_DISTILLATION = [
    Rule(r"^(encoder|decoder)_positional_embedding$", r"distillation.\1.positions"),
    Rule(r"^(encoder|decoder)_class_embedding$", r"distillation.\1.class_token"),
    Rule(r"^(encoder|decoder)_mask_token$", r"distillation.\1.mask_token"),
    Rule(r"^latent_tokens$", "distillation.encoder.new_latents"),
    Rule(r"^latent_token_positional_embedding$", "distillation.encoder.latent_positions"),
    Rule(r"^timestep_embedding$", "distillation.encoder.iteration_embedding"),
    Rule(r"^encoder_ln_pre\.", "distillation.encoder.norm_first."),
    Rule(r"^encoder_ln_recursive\.", "distillation.encoder.norm_next."),
    Rule(r"^encoder_ln_post\.", "distillation.encoder.norm_out."),
    Rule(r"^pre_quantizer_mlp\.", "distillation.encoder.to_code."),
    Rule(r"^patch_embed\.", "distillation.encoder.patch_embedding."),
    Rule(r"^quantize\.embedding\.weight$", "distillation.quantizer.embedding"),
    Rule(r"^decoder\.decoder_embed\.", "distillation.decoder.from_code."),
    Rule(r"^decoder\.latent_token_positional_embedding$", "distillation.decoder.latent_positions"),
    Rule(r"^decoder\.ln_pre\.", "distillation.decoder.norm_in."),
    Rule(r"^decoder\.ln_post\.", "distillation.decoder.norm_out."),
    Rule(r"^decoder\.ffn\.", "distillation.decoder.head.mlp."),
]


class PublishedTokenizer(NamedTuple):
    """What a checkpoint of the authors' holds."""

    tokenizer: AdaptiveTokenizer
    epoch: int | None  # of the training, where the file says


def load_published(path: str | Path, *, heads: int | None = None) -> AdaptiveTokenizer:
    """Read a checkpoint with the authors' tensor names into a tokenizer ready to use, in eval mode.

    Args:
        path: a `.pth` dict with its tensors under one of `LAYOUTS` (the average is preferred), a plain state dict, or
            safetensors. Pickles are read with `weights_only` and an allow-list: argparse's namespace, paths, and
            numpy's numbers.
        heads: attention heads; needed when width and layers are not one of the published sizes.

    Raises:
        CheckpointError: not such a checkpoint, a truncated one, or a missing, misshapen or unknown tensor.
    """
    return read_published(Path(path), heads=heads).tokenizer


def read_published(path: Path, *, heads: int | None = None) -> PublishedTokenizer:
    """Read a checkpoint as `load_published` does, with what else the file says."""
    content = read_file(path)
    tensors = {name: tensor for name, tensor in state_dict(content, path).items() if not IGNORED.match(name)}
    try:
        config = infer_config(tensors, heads=heads, source=str(path))
    except ValidationError as error:
        raise CheckpointError(
            f"{path}: no tokenizer has tensors of these shapes: {error.errors()[0]['msg']}"
        ) from error
    renamed = {rename(name, config): tensor for name, tensor in tensors.items()}
    tokenizer = AdaptiveTokenizer.with_weights(config, renamed, source=str(path))
    epoch = content.get("epoch")
    return PublishedTokenizer(tokenizer, epoch if isinstance(epoch, int) else None)


def infer_config(tensors: dict[str, Tensor], *, heads: int | None, source: str) -> TokenizerConfig:
    """Read every size off the tensors' shapes."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in tensors:
            raise CheckpointError(f"{source}: missing tensor {name}; expected a checkpoint of the published tokenizer")
        found = tuple(tensors[name].shape)
        if len(found) != dimensions or 0 in found:
            raise CheckpointError(f"{source}: {name} has shape {found}, expected {dimensions} dimensions")
        return found

    iterations, new, width = shape("timestep_embedding", 3)
    layers = _count(tensors, r"^encoder\.transformer\.(\d+)\.")
    heads = heads or HEADS_BY_SIZE.get((width, layers))
    if heads is None:
        raise CheckpointError(
            f"{source}: width {width} with {layers} layers is no published size; pass heads= (alit convert --heads)"
        )
    patch = shape("patch_embed.weight", 4)[-1]
    grid = round((shape("encoder_positional_embedding", 2)[0] - 1) ** 0.5)
    quantize = "quantize.embedding.weight" in tensors
    code_size = shape("pre_quantizer_mlp.weight", 2)[0]
    is_vae = any(name.startswith("base_tokenizer.vae.") for name in tensors)
    return TokenizerConfig(
        image_size=grid * patch,
        base=_infer_base(tensors, shape, is_vae),
        distillation=DistillationConfig(
            width=width,
            layers=layers,
            heads=heads,
            tokens_per_iteration=new,
            iterations=iterations,
            quantize=quantize,
            latent_codebook_size=shape("quantize.embedding.weight", 2)[0] if quantize else 1,
            latent_code_size=code_size,
            prediction="regression" if is_vae else "logits",
            similarity_scale=1.0,
        ),
    )


def _infer_base(tensors: dict[str, Tensor], shape: Any, is_vae: bool) -> BaseTokenizerConfig:
    prefix = f"base_tokenizer.{'vae' if is_vae else 'vqgan'}"
    channels = shape(f"{prefix}.encoder.conv_in.weight", 4)[0]
    levels = _count(tensors, rf"^{re.escape(prefix)}\.encoder\.down\.(\d+)\.block\.")
    blocks = _count(tensors, rf"^{re.escape(prefix)}\.encoder\.down\.0\.block\.(\d+)\.")
    widths = [shape(f"{prefix}.encoder.down.{level}.block.0.conv2.weight", 4)[0] for level in range(levels)]
    return BaseTokenizerConfig(
        kind="vae" if is_vae else "vqgan",
        channels=channels,
        stem=1,
        multipliers=tuple(w // channels for w in widths),
        blocks=blocks,
        code_size=shape(f"{prefix}.decoder.conv_in.weight", 4)[1],
        codebook_size=None if is_vae else shape(f"{prefix}.quantize.embedding.weight", 2)[0],
        unit_codes=False,
        latent_scale=0.2325,
        sample_posterior=False,
        rescale_decode=False,
        level_attention=any(name.startswith(f"{prefix}.encoder.down.{levels - 1}.attn.") for name in tensors),
    )


def _count(tensors: dict[str, Tensor], pattern: str) -> int:
    """Return how many indices the pattern's group takes over all tensor names."""
    return len({match.group(1) for name in tensors if (match := re.match(pattern, name))})


def rename(name: str, config: TokenizerConfig) -> str:
    """Translate one of the authors' tensor names into this package's."""
    if not name.startswith("base_tokenizer."):
        for rule in (*_TRANSFORMER, *_DISTILLATION):
            name = re.sub(rule.pattern, rule.replacement, name)
        return name
    assert isinstance(config.base, BaseTokenizerConfig)
    return "base." + rename_base(BASE_PREFIX.sub("", name), config.base)
