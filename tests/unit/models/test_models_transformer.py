import pytest
import torch
from torch import nn

from alit.models.transformer import SelfAttention, Transformer, attend, free_parameter, initialize


@pytest.fixture
def stack():
    torch.manual_seed(0)
    transformer = Transformer(width=8, layers=3, heads=2)
    initialize(transformer)
    return transformer


def test_attention_agrees_with_torch_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = SelfAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.out.weight.data, ours.out.bias.data
    tokens = torch.randn(2, 5, 8)
    mixed, weights = theirs(tokens, tokens, tokens)
    torch.testing.assert_close(ours(tokens), mixed, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.weights(tokens), weights, atol=1e-6, rtol=1e-5)


def test_attention_in_a_bfloat16_training_is_that_of_float32_and_so_are_its_gradients():
    torch.manual_seed(0)
    single = [torch.randn(2, 3, 9, 16, requires_grad=True) for _ in range(3)]
    half = [each.detach().bfloat16().requires_grad_() for each in single]
    for inputs in (single, half):
        attend(*inputs).square().sum().backward()
    torch.testing.assert_close(attend(*half).float(), attend(*single), atol=0.02, rtol=0.02)
    for one, other in zip(half, single, strict=True):
        torch.testing.assert_close(one.grad.float(), other.grad, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_without_gradients_is_torchs_own_bit_by_bit(dtype):
    inputs = [torch.randn(2, 3, 9, 16, dtype=dtype) for _ in range(3)]
    expected = nn.functional.scaled_dot_product_attention(*inputs)
    assert torch.equal(attend(*inputs), expected)
    with torch.no_grad():
        assert torch.equal(attend(*(each.clone().requires_grad_() for each in inputs)), expected)


@pytest.mark.parametrize("rows", [slice(2, 5), slice(4, None), slice(0, 1)])
def test_the_rows_asked_for_equal_those_of_the_whole(stack, rows):
    tokens = torch.randn(2, 6, 8)
    whole = stack(tokens, attention=True)
    part = stack(tokens, rows=rows, attention=True)
    torch.testing.assert_close(part.tokens, whole.tokens[:, rows], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(part.attention[-1], whole.attention[-1][:, rows], atol=1e-6, rtol=1e-5)


def test_there_is_one_attention_map_per_layer_and_its_rows_sum_to_one(stack):
    maps = stack(torch.randn(2, 6, 8), attention=True).attention
    assert len(maps) == 3
    for layer in maps:
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(2, 6))


def test_initialization_has_the_published_statistics():
    torch.manual_seed(0)
    transformer = Transformer(width=128, layers=1, heads=2)
    initialize(transformer)
    block = transformer.blocks[0]
    assert abs(block.mlp[0].weight.std().item() - 0.02) < 0.002
    assert block.attention.qkv.weight.abs().max() <= (6 / (128 + 3 * 128)) ** 0.5 + 1e-6
    assert block.attention.qkv.weight.std() > 0.05
    assert all(torch.count_nonzero(p) == 0 for n, p in transformer.named_parameters() if n.endswith("bias"))
    assert abs(free_parameter(64, 256).std().item() - 1 / 16) < 0.005
