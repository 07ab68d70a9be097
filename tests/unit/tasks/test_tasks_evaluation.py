"""How well a trained network does: accuracy, likelihood and calibration against known answers."""

import math

import numpy as np
import pytest
import torch
from task_cases import CPU
from torch import nn
from training_cases import MemoryImages

from alit.tasks.classification import Classifier
from alit.tasks.evaluation import calibration_error, evaluate_trained


def test_a_network_as_sure_as_it_is_right_is_calibrated():
    confidence = np.repeat([0.5, 0.75], 40)
    correct = np.concatenate([np.tile([1, 0], 20), np.tile([1, 1, 1, 0], 10)])
    assert calibration_error(confidence, correct, bins=2) == pytest.approx(0)


def test_the_error_is_the_gap_in_each_bin():
    confidence = np.array([0.9, 0.6, 0.9, 0.6])
    correct = np.array([0, 1, 1, 1])  # sure ones: 0.9 against 0.5; unsure ones: 0.6 against 1
    assert calibration_error(confidence, correct, bins=2) == pytest.approx(0.4)
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(0)  # 0.75 against 0.75
    assert calibration_error(confidence[:2], correct[:2], bins=15) == pytest.approx((0.9 + 0.4) / 2)


def test_no_image_has_no_calibration():
    with pytest.raises(ValueError, match="at least 1"):
        calibration_error(np.empty(0), np.empty(0))


class SureOfTheFirst(nn.Module):
    """Gives every image the same logits: three quarters for the first class."""

    head_hidden_size = 1

    def forward_intermediates(self, images):
        return images, [images]

    def forward_head(self, maps, pre_logits=False):
        return maps.new_tensor([math.log(3), 0.0]).expand(len(maps), 2)


def test_a_classifier_is_described_by_accuracy_likelihood_and_calibration():
    images = MemoryImages(count=12)
    network = Classifier(SureOfTheFirst(), input_size=8, class_names=images.class_names)
    results = evaluate_trained(network, images, CPU, batch_size=5)
    labels = images.labels(torch.arange(len(images)))
    right = (labels == 0).float().mean().item()
    assert results["images"] == 12
    assert results["accuracy"] == pytest.approx(right)
    assert results["confidence"] == pytest.approx(0.75)
    expected = torch.where(labels == 0, -math.log(0.75), -math.log(0.25)).mean().item()
    assert results["negative_log_likelihood"] == pytest.approx(expected)
    assert 0 <= results["expected_calibration_error"] <= 1
    assert results["calibration_bins"] == "15 of equal size"


def test_without_known_classes_there_is_no_mean():
    images = MemoryImages(count=4)
    network = Classifier(SureOfTheFirst(), input_size=8, class_names=("other", "another"))
    results = evaluate_trained(network, images, CPU)
    assert results["images"] == 0
    assert results["accuracy"] is results["expected_calibration_error"] is None
