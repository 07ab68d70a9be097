"""What the tests of the task networks share."""

import torch

from alit.tasks.classification import ClassificationTask, Classifier
from alit.tasks.depth import DepthNetwork, DepthTask
from alit.tasks.networks import SmallCNN, UNet
from alit.tasks.perceptual import PerceptualTask, ReconstructionTask, build_trunk
from alit.tasks.protocol import SweepBatch
from alit.tasks.registry import TaskModelConfig

CPU = torch.device("cpu")


def model(**changes):
    settings = {
        "name": "cnn",
        "kind": "classifier",
        "architecture": "small_cnn",
        "weights": "train",
        "input_size": 16,
        "train_on": None,
        "test_on": None,
        "steps": 1,
        "batch_size": 4,
        "learning_rate": 1e-3,
    }
    return TaskModelConfig(**(settings | changes))


def pictures(count, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def batch_of(images):
    return SweepBatch(images, torch.zeros(len(images), dtype=torch.int64), ("a",))


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval().requires_grad_(False)


def tiny_tasks():
    """Every task that needs no library to be loaded, on seeded networks."""
    classifier = seeded(lambda: Classifier(SmallCNN(3), input_size=16, class_names=("a", "b", "c")))
    # In float64, so that no two pixels change places by rounding: the agreement of an order is not continuous.
    depth = seeded(lambda: DepthNetwork(UNet((4, 6, 8, 10)), input_size=16, metric=True).double())
    return [
        ReconstructionTask(),
        ClassificationTask("cnn", classifier, {}),
        DepthTask("unet", depth, {}),
        PerceptualTask("random", build_trunk("random"), {}),
    ]
