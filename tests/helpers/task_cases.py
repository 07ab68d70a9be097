"""What the tests of the task networks share."""

import torch

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
