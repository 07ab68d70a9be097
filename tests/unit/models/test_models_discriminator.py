"""The discriminator and the perceptual distance."""

import pytest
import torch
from training_cases import Edges, perceptual

from alit.models.losses import PatchDiscriminator, PerceptualDistance, perceptual_distance
from alit.training.finetune import DiscriminatorLoss, adaptive_weight, hinge_loss


def test_the_published_size_has_the_published_number_of_parameters():
    count = sum(parameter.numel() for parameter in PatchDiscriminator(64, 3).parameters())
    assert count == pytest.approx(2.77e6, rel=0.005)


def test_convolutions_start_from_a_narrow_normal_and_norms_around_one():
    torch.manual_seed(0)
    weights = dict(PatchDiscriminator(32, 3).named_parameters())
    kernels = [weight for weight in weights.values() if weight.ndim == 4]
    assert all(weight.std().item() == pytest.approx(0.02, rel=0.2) for weight in kernels)
    scales = [weight for name, weight in weights.items() if weight.ndim == 1 and name.endswith("weight")]
    assert all(weight.mean().item() == pytest.approx(1.0, abs=0.02) for weight in scales)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_smallest_image_leaves_one_patch(layers):
    discriminator = PatchDiscriminator(4, layers)
    size = PatchDiscriminator.smallest_image(layers)
    assert discriminator(torch.rand(2, 3, size, size)).shape == (2, 1, 1, 1)
    assert discriminator(torch.rand(2, 3, 64, 64)).shape[-1] > 1


def test_the_hinge_loss_is_zero_beyond_the_margins_and_linear_within():
    assert hinge_loss(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])) == 0
    assert hinge_loss(torch.tensor([0.5]), torch.tensor([0.0])) == pytest.approx(0.75)


def test_a_discriminator_learns_to_tell_noise_from_grey():
    torch.manual_seed(0)
    judge = DiscriminatorLoss(PatchDiscriminator(4, 1))
    optimizer = torch.optim.Adam(judge.parameters(), 1e-2)
    for _ in range(40):
        judged = judge(torch.rand(8, 3, 16, 16), torch.full((8, 3, 16, 16), 0.5))
        optimizer.zero_grad()
        judged.loss.backward()
        optimizer.step()
    assert judged.real > judged.fake + 1


def test_the_adaptive_weight_balances_gradients_at_the_last_layer():
    layer = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    content, adversarial = (3 * layer).sum(), (0.5 * layer).sum()
    weight = adaptive_weight(content, adversarial, layer)
    assert weight.item() == pytest.approx(6.0, rel=1e-3)
    assert not weight.requires_grad
    assert layer.grad is None
    assert adaptive_weight(content, (0 * layer).sum(), layer).item() == pytest.approx(1e4)


def test_the_perceptual_distance_is_zero_for_equal_images_and_grows_with_noise():
    distance = perceptual()
    images = torch.rand(3, 3, 16, 16)
    noise = torch.randn(3, 3, 16, 16)
    assert torch.equal(distance(images, images), torch.zeros(3))
    assert (distance(images + 0.01 * noise, images) < distance(images + 0.2 * noise, images)).all()


def test_the_perceptual_distance_is_that_of_unit_channel_vectors():
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])
    maps, others = a[None, :, None, None], b[None, :, None, None]
    expected = (0.6 - 0.0) ** 2 + (0.8 - 1.0) ** 2
    assert perceptual_distance([maps], [others]).item() == pytest.approx(expected)
    weights = [torch.tensor([2.0, 0.0])]
    assert perceptual_distance([maps], [others], weights).item() == pytest.approx(2 * 0.36)
    assert perceptual_distance([maps, maps], [others, others]).item() == pytest.approx(2 * expected)


def test_the_perceptual_network_stays_frozen_and_in_eval_mode():
    distance = PerceptualDistance(torch.nn.Sequential(Edges(), torch.nn.Dropout()))
    holder = torch.nn.Sequential(distance)
    holder.train()
    assert not any(part.training for part in distance.modules())
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_the_perceptual_distance_teaches_the_image_and_not_the_target():
    images, targets = (torch.rand(1, 3, 8, 8, requires_grad=True) for _ in range(2))
    perceptual()(images, targets).sum().backward()
    assert images.grad.abs().sum() > 0
    assert targets.grad is None
