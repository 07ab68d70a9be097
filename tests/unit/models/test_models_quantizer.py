import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from alit.models.quantizer import VectorQuantizer, nearest


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), unit=st.booleans())
def test_ids_look_up_to_the_codes_they_came_with(seed, unit):
    torch.manual_seed(seed)
    quantizer = VectorQuantizer(11, 5, unit=unit)
    quantized = quantizer(torch.randn(2, 3, 5))
    torch.testing.assert_close(quantizer.lookup(quantized.ids), quantized.codes, atol=1e-6, rtol=1e-5)
    assert torch.equal(quantizer(quantized.codes).ids, quantized.ids)


def test_nearest_is_the_argmin_of_the_squared_distance():
    torch.manual_seed(0)
    vectors, codebook = torch.randn(40, 5), torch.randn(13, 5)
    assert torch.equal(nearest(vectors, codebook), torch.cdist(vectors, codebook).argmin(dim=1))


def test_unit_codes_have_norm_one():
    quantized = VectorQuantizer(8, 3, unit=True)(torch.randn(4, 3))
    torch.testing.assert_close(quantized.codes.norm(dim=-1), torch.ones(4))


def test_the_gradient_passes_straight_through_to_the_vectors():
    vectors = torch.randn(4, 3, requires_grad=True)
    VectorQuantizer(8, 3, unit=False)(vectors).codes.sum().backward()
    torch.testing.assert_close(vectors.grad, torch.ones(4, 3))


def test_the_loss_is_codebook_plus_a_quarter_of_commitment():
    vectors = torch.randn(6, 3, requires_grad=True)
    quantizer = VectorQuantizer(8, 3, unit=False)
    quantized = quantizer(vectors)
    error = F.mse_loss(quantizer.lookup(quantized.ids), vectors)
    torch.testing.assert_close(quantized.loss, 1.25 * error)
    quantized.loss.backward()
    expected = 0.25 * 2 * (vectors - quantizer.lookup(quantized.ids)).detach() / vectors.numel()
    torch.testing.assert_close(vectors.grad, expected)
    assert quantizer.embedding.grad.abs().sum() > 0
