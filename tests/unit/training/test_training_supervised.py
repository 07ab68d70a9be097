"""Training of task networks: losses, mirrored targets, resume."""

import math

import pytest
import torch
from torch import nn
from training_cases import MemoryImages

from alit.training.engine.fabric import build_fabric
from alit.training.supervised import (
    Targets,
    classification_loss,
    log_depth_loss,
    supervised_optimization,
    train_supervised,
)


class PixelDepth(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 1, 1)

    def forward(self, images):
        return self.layer(images)[:, 0]


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


def train(network, loss, scratch, fabric, steps=200, images=None, flip=True):
    config = supervised_optimization(steps, 8, 2e-2).model_copy(update={"save_every": 20, "log_every": 10})
    images = images or MemoryImages()
    train_supervised(network, loss, images, config, name="task", flip=flip, fabric=fabric, seed=0, scratch=scratch)
    lines = [line.split(",") for line in (scratch / "log.csv").read_text().splitlines()[1:]]
    return [float(line[3]) for line in lines]


def test_unlabeled_images_do_not_count():
    logits = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    targets = Targets(torch.tensor([0, -1]), None)
    assert classification_loss(logits, targets).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_depth_errors_are_relative_and_unknown_depth_does_not_count():
    depth = torch.tensor([[[1.0, 10.0], [0.0, float("inf")]]])
    predicted = torch.tensor([[[2.0, 20.0], [7.0, 7.0]]]).log()
    loss = log_depth_loss(predicted.requires_grad_(), Targets(torch.zeros(1), depth))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert predicted.grad.isfinite().all()


def test_depth_is_compared_at_the_networks_resolution():
    depth = torch.full((2, 8, 8), 3.0)
    assert log_depth_loss(torch.full((2, 4, 4), 3.0).log(), Targets(torch.zeros(2), depth)).item() < 1e-6


def test_a_depth_network_learns_from_mirrored_pairs(tmp_path, fabric):
    class Ramp(MemoryImages):
        """Depth that lies in the image's own ramp: a mirrored image needs a mirrored depth."""

        def __init__(self):
            super().__init__()
            self.tensor = torch.linspace(0, 1, 16).expand(len(self.tensor), 3, 16, 16).contiguous()

        def depth(self, indices):
            return (self.tensor[indices].mean(dim=1) * 2).exp()

    network = PixelDepth()
    losses = train(network, log_depth_loss, tmp_path, fabric, images=Ramp())
    assert losses[-1] < 0.1 < losses[0]
    assert not network.training


def test_a_classifier_learns_and_resumes(tmp_path, fabric):
    def new_classifier():
        torch.manual_seed(0)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 2))

    whole, resumed = new_classifier(), new_classifier()
    losses = train(whole, classification_loss, tmp_path / "whole", fabric)
    assert losses[-1] < 0.5 * losses[0]

    class Stop(Exception):
        pass

    calls = []

    def loss_until_stopped(logits, targets):
        calls.append(1)
        if len(calls) == 67:
            raise Stop
        return classification_loss(logits, targets)

    with pytest.raises(Stop):
        train(new_classifier(), loss_until_stopped, tmp_path / "broken", fabric)
    train(resumed, classification_loss, tmp_path / "broken", fabric)
    for value, expected in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


def test_a_classifier_may_be_shown_crops(fabric, tmp_path):
    shown = {}

    class Seen(nn.Module):
        def __init__(self, crop_scale):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2))
            self.views = shown.setdefault(crop_scale, [])

        def forward(self, images):
            self.views.append(images)
            return self.bias.expand(len(images), 2)

    config = supervised_optimization(3, 8, 1e-3)
    for crop_scale in (1.0, 0.35):
        settings = {"name": "task", "flip": False, "crop_scale": crop_scale, "fabric": fabric, "seed": 0}
        scratch = tmp_path / str(crop_scale)
        train_supervised(Seen(crop_scale), classification_loss, MemoryImages(), config, **settings, scratch=scratch)
    assert len(shown[1.0]) == len(shown[0.35]) == 3
    for whole, cropped in zip(*shown.values(), strict=True):
        assert whole.shape == cropped.shape
        assert ((whole - cropped).abs().amax(dim=(1, 2, 3)) > 0.02).any()
