"""Settings."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from alit.settings import Settings


class TaskModelConfig(Settings):
    """One task model: a network that looks at images, originals and reconstructions alike."""

    name: str  # suffix of its columns: class_rank_<name>, depth_error_<name>, perceptual_<name>
    kind: Literal["classifier", "depth", "caption", "features"]
    architecture: str  # see alit.tasks.build
    weights: str  # "train" trains it here, "pretrained" loads published weights, "shared" belongs to task/<name>
    input_size: PositiveInt  # pixels per side that the network sees
    train_on: str | None  # a set with role train or task; null: the first with role train
    test_on: str | None  # a set with role task or evaluate, for its card alone; null: the first with role evaluate
    steps: int = Field(ge=0)  # training steps when weights are "train"
    batch_size: PositiveInt
    learning_rate: PositiveFloat
