"""The authors' names of our tensors, written apart from `alit.tokenizer.published`, to make checkpoints of theirs."""

import re

from alit.models.distillation import TokenizerConfig

PLAIN = {
    "distillation.encoder.class_token": "encoder_class_embedding",
    "distillation.encoder.mask_token": "encoder_mask_token",
    "distillation.encoder.positions": "encoder_positional_embedding",
    "distillation.encoder.new_latents": "latent_tokens",
    "distillation.encoder.latent_positions": "latent_token_positional_embedding",
    "distillation.encoder.iteration_embedding": "timestep_embedding",
    "distillation.encoder.patch_embedding": "patch_embed",
    "distillation.encoder.norm_first": "encoder_ln_pre",
    "distillation.encoder.norm_next": "encoder_ln_recursive",
    "distillation.encoder.norm_out": "encoder_ln_post",
    "distillation.encoder.to_code": "pre_quantizer_mlp",
    "distillation.quantizer.embedding": "quantize.embedding.weight",
    "distillation.decoder.class_token": "decoder_class_embedding",
    "distillation.decoder.mask_token": "decoder_mask_token",
    "distillation.decoder.positions": "decoder_positional_embedding",
    "distillation.decoder.from_code": "decoder.decoder_embed",
    "distillation.decoder.latent_positions": "decoder.latent_token_positional_embedding",
    "distillation.decoder.norm_in": "decoder.ln_pre",
    "distillation.decoder.norm_out": "decoder.ln_post",
    "distillation.decoder.head.mlp": "decoder.ffn",
    "base.quantizer.embedding": "base_tokenizer.vqgan.quantize.embedding.weight",
    "base.moments": "base_tokenizer.vae.quant_conv",
    "base.latents_in": "base_tokenizer.vae.post_quant_conv",
}
BLOCK = {
    "norm_attention": "ln_1",
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.out": "attn.out_proj",
    "norm_mlp": "ln_2",
    "mlp.0": "mlp.c_fc",
    "mlp.2": "mlp.c_proj",
}
ATTENTION = {"norm": "norm", "query": "q", "key": "k", "value": "v", "out": "proj_out"}


def published_name(name: str, config: TokenizerConfig) -> str:
    """Translate one of our tensor names into the authors'."""
    for ours, theirs in PLAIN.items():
        if name == ours or name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    block = re.fullmatch(r"distillation\.(encoder|decoder)\.transformer\.blocks\.(\d+)\.(.+)", name)
    if block:
        part = next(ours for ours in BLOCK if block[3] == ours or block[3].startswith(ours + "."))
        return f"{block[1]}.transformer.{block[2]}.{BLOCK[part]}{block[3][len(part) :]}"
    return _base_name(name, config)


def _base_name(name: str, config: TokenizerConfig) -> str:
    kind, levels = config.base.kind, len(config.base.multipliers)
    _, side, part, *rest = name.split(".")
    prefix = f"base_tokenizer.{kind}.{side}"
    down = "down" if side == "encoder" else "up"
    if part == "levels":
        level = int(rest[0]) if side == "encoder" else levels - 1 - int(rest[0])
        attended = config.base.level_attention and side == "encoder" and level == levels - 1
        index, is_attention = divmod(int(rest[1]), 2) if attended else (int(rest[1]), 0)
        where = f"{prefix}.{down}.{level}.{'attn' if is_attention else 'block'}.{index}"
        return f"{where}.{_leaf(rest[2:], bool(is_attention))}"
    if part in ("upsamples", "downsamples"):
        level = int(rest[0]) if side == "encoder" else levels - 1 - int(rest[0])
        return f"{prefix}.{down}.{level}.{part[:-1]}.{'.'.join(rest[1:])}"
    if part == "middle":
        middle = ["block_1", "attn_1", "block_2"] if kind == "vae" else ["block_1", "block_2"]
        where = middle[int(rest[0])]
        return f"{prefix}.mid.{where}.{_leaf(rest[1:], where == 'attn_1')}"
    return f"{prefix}.{'.'.join([part, *rest])}"


def _leaf(parts: list[str], is_attention: bool) -> str:
    first = ATTENTION[parts[0]] if is_attention else parts[0].replace("shortcut", "nin_shortcut")
    return ".".join([first, *parts[1:]])
