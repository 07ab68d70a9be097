"""The pre-norm transformer that both the distillation encoder and the latent decoder stack.

Full self-attention without a mask, GELU MLP of ratio 4, biases everywhere, no dropout, as published.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint


class TransformerOutput(NamedTuple):
    """Tokens after the last layer and, when asked for, every layer's attention."""

    tokens: Tensor  # (b, n, d), or the rows asked for
    attention: tuple[Tensor, ...] | None  # per layer (b, queries, keys), averaged over heads


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return softmax(queries @ keys^T / sqrt(dim)) @ values, (b, heads, rows, dim), of (b, heads, rows or n, dim).

    By torch's choice of kernel, but for trainings in bfloat16 on a CPU: the fused kernel's backward pass there takes so
    much longer than that of the plain form that a whole step takes a third more. A caller that has ruled the plain form
    out, by `torch.nn.attention.sdpa_kernel`, gets what it asked for.
    """
    trained = torch.is_grad_enabled() and queries.requires_grad
    slow = trained and queries.device.type == "cpu" and queries.dtype == torch.bfloat16
    if slow and torch.backends.cuda.math_sdp_enabled():  # of all devices, whatever its name says
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(queries, keys, values)
    return F.scaled_dot_product_attention(queries, keys, values)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one packed projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, rows: slice = slice(None)) -> Tensor:
        """Attend from `rows` of tokens (b, n, d) to all of them; return (b, rows, d)."""
        queries, keys, values = self._project(tokens, rows)
        mixed = attend(queries, keys, values)
        return self.out(rearrange(mixed, "b heads n dim -> b n (heads dim)"))

    def weights(self, tokens: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the softmax attention weights (b, rows, n), averaged over heads."""
        queries, keys, _ = self._project(tokens, rows)
        scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
        return scores.softmax(dim=-1).mean(dim=1)

    def _project(self, tokens: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        if rows == slice(None):
            return tuple(rearrange(self.qkv(tokens), "b n (three h dim) -> three b h n dim", three=3, h=self.heads))
        width = tokens.shape[-1]
        queries = F.linear(tokens[:, rows], self.qkv.weight[:width], self.qkv.bias[:width])
        keys_values = F.linear(tokens, self.qkv.weight[width:], self.qkv.bias[width:])
        keys, values = rearrange(keys_values, "b n (two h dim) -> two b h n dim", two=2, h=self.heads)
        return rearrange(queries, "b n (h dim) -> b h n dim", h=self.heads), keys, values


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return `rows` of the transformed tokens (b, n, d)."""
        tokens = tokens[:, rows] + self.attention(self.norm_attention(tokens), rows)
        return tokens + self.mlp(self.norm_mlp(tokens))


class Transformer(nn.Module):
    """A stack of blocks without a norm at its end.

    Attributes:
        checkpoint_activations: keep only each block's input for the backward pass and compute the rest again there:
            the same gradients for one more forward pass, at a fraction of the memory.
    """

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.checkpoint_activations = False
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, tokens: Tensor, *, rows: slice = slice(None), attention: bool = False) -> TransformerOutput:
        """Transform tokens (b, n, d).

        Args:
            tokens: (b, n, d).
            rows: the rows that the caller needs of the output; the last layer computes no others.
            attention: also return each layer's head-averaged weights; the last layer's only for `rows`.
        """
        maps = []
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            needed = rows if layer == last else slice(None)
            if attention:
                maps.append(block.attention.weights(block.norm_attention(tokens), needed))
            if self.checkpoint_activations and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, needed, use_reentrant=False)
            else:
                tokens = block(tokens, needed)
        return TransformerOutput(tokens, tuple(maps) if attention else None)


def initialize(module: nn.Module) -> None:
    """Initialize the distillation's layers as published.

    Linear and convolution weights: truncated normal of deviation 0.02 and zero biases; the packed attention
    projection: Xavier uniform; layer norms: one and zero.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, SelfAttention):
            nn.init.xavier_uniform_(part.qkv.weight)


def free_parameter(*shape: int) -> nn.Parameter:
    """Return a learned table (..., d) drawn from a normal of deviation d ** -0.5, as published."""
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)
