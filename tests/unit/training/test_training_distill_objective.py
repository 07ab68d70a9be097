"""Stage 1's objective: the published formula, summed over the supervised iterations and no further."""

import pytest
import torch
from training_cases import MemoryImages, count_iterations, distill_config, new_tokenizer, tokenizer_config

from alit.training.distill import DistillObjective, distill_at, iteration_loss
from alit.training.engine.loader import encode_frozen


def case(kind="vqgan", prediction="similarity", quantize=True):
    """A tokenizer, images and their base tokens."""
    tokenizer = new_tokenizer(tokenizer_config(kind=kind, prediction=prediction, quantize=quantize))
    images = MemoryImages().tensor[:4]
    return tokenizer, images, encode_frozen(tokenizer.base, images)


def objective(tokenizer, images, tokens, iterations, *, quantize=True, generator=None, **changes):
    module = DistillObjective(tokenizer.distillation, distill_config(**changes))
    return module(images, tokens, tokenizer.base.codebook, iterations, quantize, generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_an_iteration_is_that_of_the_published_formula(smoothing):
    tokenizer, images, tokens = case(prediction="logits")
    distilled = distill_at(tokenizer.distillation, images, tokens, tokenizer.base.codebook, 2, decode=(2,))
    config = distill_config(code_weight=0.7, quantizer_weight=0.3, label_smoothing=smoothing)
    loss = iteration_loss(distilled, tokens, config, regression=False)
    scores = distilled.prediction.scores.log_softmax(dim=-1)
    chosen = torch.gather(scores, -1, tokens.ids[..., None])
    cross_entropy = -(1 - smoothing) * chosen.mean() - smoothing * scores.mean()
    code_error = (distilled.prediction.codes - tokenizer.base.codebook[tokens.ids]).square().mean()
    expected = 2.0 * cross_entropy + 0.7 * code_error + 0.3 * distilled.quantizer_loss
    torch.testing.assert_close(loss["total"], expected)


def test_a_cross_entropy_of_weight_0_is_measured_and_has_no_gradient():
    gradients = {}
    for weight in (0.0, 1e-30):
        tokenizer, images, tokens = case()
        found = objective(tokenizer, images, tokens, (2,), cross_entropy_weights=(2.5, weight, 1.5))
        found.total.backward()
        gradients[weight] = [each.grad for each in tokenizer.distillation.parameters()]
        assert found.cross_entropy > 1
    for none, hardly in zip(*gradients.values(), strict=True):
        assert (none is None) == (hardly is None)
        assert none is None or torch.allclose(none, hardly)


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_regression_weights_the_squared_error_by_iteration(kind):
    tokenizer, images, tokens = case(kind, "regression")
    distilled = distill_at(tokenizer.distillation, images, tokens, tokenizer.base.codebook, 1, decode=(1,))
    loss = iteration_loss(distilled, tokens, distill_config(), regression=True)
    code_error = (distilled.prediction.scores - tokens.codes).square().mean()
    torch.testing.assert_close(loss["total"], 2.5 * code_error + distilled.quantizer_loss)


def test_the_objective_is_the_sum_over_supervised_iterations():
    tokenizer, images, tokens = case()
    parts = [objective(tokenizer, images, tokens, (iteration,)).total for iteration in (1, 3)]
    both = objective(tokenizer, images, tokens, (1, 3))
    torch.testing.assert_close(both.total, sum(parts))
    assert both.code_error.shape == (2,)
    assert both.ids.shape == (4, 2 + 6)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_the_rollout_ends_at_the_last_supervised_iteration(last, monkeypatch):
    ran = count_iterations(monkeypatch)
    tokenizer, images, tokens = case()
    objective(tokenizer, images, tokens, (last,))
    assert ran == list(range(1, last + 1))


@pytest.mark.parametrize(
    ("kind", "prediction", "quantize"),
    [
        ("vqgan", "logits", True),
        ("vqgan", "similarity", True),
        ("vqgan", "regression", False),
        ("vae", "regression", True),
        ("vae", "regression", False),
    ],
)
def test_gradients_reach_every_parameter_that_is_used_and_never_the_base(kind, prediction, quantize):
    tokenizer, images, tokens = case(kind, prediction, quantize)
    tokenizer.base.requires_grad_(True)
    objective(tokenizer, images, tokens, (1, 2, 3)).total.backward()
    for name, parameter in tokenizer.distillation.named_parameters():
        unused = name == "encoder.mask_token"  # only halting uses it
        assert (parameter.grad is None) == unused, name
        assert unused or parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in tokenizer.base.parameters())


def test_halting_reaches_the_mask_token_too():
    tokenizer, images, tokens = case("vae", "regression")
    tokens = tokens._replace(codes=torch.zeros_like(tokens.codes))
    tokenizer.distillation.decoder.head.mlp[2].weight.data.mul_(1e-3)  # close to zero: well enough to halt
    objective(tokenizer, images, tokens, (1, 2, 3), halting=True).total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in tokenizer.distillation.parameters())


def test_the_quantizer_is_bypassed_when_asked():
    tokenizer, images, tokens = case()
    losses = objective(tokenizer, images, tokens, (1, 2, 3), quantize=False)
    losses.total.backward()
    assert losses.ids is None
    assert losses.quantizer.sum() == 0
    assert tokenizer.distillation.quantizer.embedding.grad is None
