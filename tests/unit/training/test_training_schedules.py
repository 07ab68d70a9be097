"""Schedules, averages and the optimizer's update."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_cases import finetune_config, optimization

from alit.training.distill import switch_step, unlocked_iterations
from alit.training.engine.fabric import build_fabric
from alit.training.finetune import adversarial_weight
from alit.training.optim import (
    Average,
    OptimizedModule,
    average_decay,
    learning_rate,
    parameter_groups,
)


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


# Schedules


def test_the_learning_rate_warms_up_linearly_and_decays_as_a_cosine():
    config = optimization(steps=110, warmup_steps=10, learning_rate=2.0)
    assert learning_rate(0, config) == pytest.approx(0.2)
    assert learning_rate(9, config) == pytest.approx(2.0)
    assert learning_rate(10, config) == pytest.approx(2.0)
    assert learning_rate(60, config) == pytest.approx(1.0)
    assert learning_rate(35, config) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(110, config) == pytest.approx(0.0)


def test_the_learning_rate_needs_no_warm_up():
    assert learning_rate(0, optimization(warmup_steps=0, learning_rate=0.5)) == pytest.approx(0.5)


def test_iterations_unlock_evenly_and_the_last_one_at_the_given_share():
    counts = [unlocked_iterations(step, 100, 8, 0.7) for step in range(100)]
    assert counts[0] == 1
    assert counts[9:11] == [1, 2]
    assert counts[69:71] == [7, 8]
    assert counts[-1] == 8


def test_all_iterations_are_open_without_a_curriculum():
    assert unlocked_iterations(0, 100, 8, 0.0) == 8


@given(st.integers(1, 300), st.integers(1, 9), st.floats(0, 1))
def test_the_curriculum_never_locks_what_was_open(steps, iterations, share):
    counts = [unlocked_iterations(step, steps, iterations, share) for step in range(steps)]
    assert counts == sorted(counts)
    assert min(counts) >= 1
    assert max(counts) <= iterations


def test_the_quantizer_joins_at_its_share_of_the_run():
    assert switch_step(200, 0.0) == 0
    assert switch_step(200, 0.25) == 50


def test_the_adversary_joins_in_two_steps():
    config = finetune_config(
        adversarial_weight=0.8, adversarial_start=0.1, adversarial_full=0.5, adversarial_early_factor=0.25
    )
    weights = [adversarial_weight(step, 100, config) for step in range(100)]
    assert set(weights[:10]) == {0.0}
    assert set(weights[10:50]) == {0.2}
    assert set(weights[50:]) == {0.8}


# Averages and optimizer


def test_the_average_is_the_closed_form_of_all_values_ever_seen():
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = Average([parameter], 0.5)
    expected = 1.0
    for update in range(30):
        parameter.data.fill_(float(update**2))
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update**2
    assert average.values[0].item() == pytest.approx(expected)
    # Were it reset on the way, values before the reset would have no weight left.
    assert average.values[0].item() != pytest.approx(29.0**2)


def test_the_decay_of_the_average_rises_to_its_setting():
    decays = [average_decay(updates, 0.99) for updates in range(2000)]
    assert decays[0] == pytest.approx(0.1)
    assert decays == sorted(decays)
    assert decays[-1] == 0.99


def test_the_average_replaces_the_weights_at_the_end():
    parameter = nn.Parameter(torch.zeros(2))
    average = Average([parameter], 0.9)
    parameter.data.fill_(1.0)
    average.update()
    average.copy_to_parameters()
    assert torch.allclose(parameter, torch.full((2,), 0.9))


def test_biases_and_scales_do_not_decay_and_tables_do():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv2d(4, 4, 3), nn.Embedding(5, 4))
    decaying, others = parameter_groups(module.parameters(), 0.1)
    assert decaying["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    assert all(parameter.ndim > 1 for parameter in decaying["params"])
    assert len(decaying["params"]) == 3
    assert len(others["params"]) == 4


def test_an_update_follows_adamw_with_the_scheduled_rate_and_clipping(fabric):
    module = nn.Linear(2, 1, bias=False)
    start = module.weight.detach().clone()
    reference = nn.Parameter(start.clone())
    config = optimization(steps=10, warmup_steps=0, learning_rate=0.1, clip_norm=0.5, weight_decay=0.2)
    optimized = OptimizedModule(fabric, module, config)
    reference_optimizer = torch.optim.AdamW([reference], betas=config.betas, weight_decay=0.2)
    inputs = torch.tensor([[3.0, -1.0]])
    for step in range(3):
        norm = optimized.backward_and_step(optimized.module(inputs).square().sum(), step)
        loss = (inputs @ reference.T).square().sum()
        gradient = torch.autograd.grad(loss, reference)[0]
        assert norm.item() == pytest.approx(gradient.norm().item(), rel=1e-4)
        reference.grad = gradient * min(1.0, 0.5 / gradient.norm().item())
        reference_optimizer.param_groups[0]["lr"] = learning_rate(step, config)
        reference_optimizer.step()
    assert torch.allclose(module.weight, reference, atol=1e-5)


def test_no_clipping_leaves_the_gradient_alone(fabric):
    module = nn.Linear(1, 1, bias=False)
    optimized = OptimizedModule(fabric, module, optimization(clip_norm=None))
    assert optimized.backward_and_step(1000 * optimized.module(torch.ones(1, 1)).sum(), 0).item() == pytest.approx(
        1000.0
    )
