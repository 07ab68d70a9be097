"""What a script that runs networks begins with, beside paths and settings: image sets, and where networks run."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from alit.config import load_profile
from alit.data.imageset import ImageSet, open_set, read_cards
from alit.data.prepare import SETTINGS_FILE, DataConfig
from alit.errors import DataError
from alit.settings import parse_settings
from alit.training.engine.execution import use_tf32
from alit.training.engine.fabric import build_fabric, quick_precision, single_device
from experiments.stage import Stage

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


class NetworkStage(Stage):
    """A stage that runs networks; a fault anywhere in the profile shows before any work is done."""

    def __init__(self, argv: Sequence[str] | None, description: str | None, *, studies: Sequence[str] = ()) -> None:
        super().__init__(argv, description, studies=studies)
        load_profile(self.paths.config)

    @cached_property
    def device(self) -> torch.device:
        """Where networks run that one process runs alone."""
        return single_device(self.read("device", str))

    def target(self, name: str) -> str:
        """Return a tokenizer's name as `load_tokenizer` takes it: a folder of the checkout, as `zoo/<name>`, whole."""
        folder = self.paths.root / name
        below_run = (self.paths.run / name).exists()
        return str(folder) if folder.is_dir() and not below_run else name

    def fabric(self, precision: str = "32-true", *, tf32: bool = False) -> "Fabric":
        """Return a launched Fabric for work in all processes of the profile; `tf32` as in its `execution`.

        A CPU that would emulate bfloat16 computes in float32, and the stage says so.
        """
        computed = quick_precision(precision, self.device)
        fabric = build_fabric(self.read("device", str), self.read("devices", int), computed)
        if computed != precision and fabric.is_global_zero:
            print(f"precision: {computed} instead of {precision}, which this CPU would emulate", flush=True)
        if tf32:
            use_tf32(fabric.device)
        return fabric

    @cached_property
    def data_config(self) -> DataConfig:
        """The settings that the image sets were made by: part of what a training is made by."""
        path = self.paths.data / SETTINGS_FILE
        return parse_settings(DataConfig, json.loads(path.read_text(encoding="utf-8")), source=str(path))

    @cached_property
    def train_set(self) -> ImageSet:
        """The profile's first training set."""
        return self._first("train")

    @cached_property
    def evaluation_set(self) -> ImageSet:
        """The profile's first evaluation set: the in-distribution images."""
        return self._first("evaluate")

    def sets(self, names: Sequence[str]) -> list[ImageSet]:
        """Open sets by name."""
        return [open_set(self.paths.data / name) for name in names]

    def _first(self, role: str) -> ImageSet:
        found = next((card for card in read_cards(self.paths.data) if card.role == role), None)
        if found is None:
            raise DataError(f"expected a set with role {role} in {self.paths.data}, found none; run the data stage")
        return open_set(self.paths.data / found.name)
