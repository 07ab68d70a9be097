"""What every stage's script begins with: the profile that it runs for, its paths and settings, and tables to write."""

import argparse
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from alit.errors import DataError
from alit.paths import RunPaths, project_root
from alit.settings import Settings, parse_settings, read_section, read_yaml

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

    from alit.data.imageset import ImageSet

T = TypeVar("T")
S = TypeVar("S", bound=Settings)


class Stage:
    """A run of one stage for one profile.

    Settings are read section by section, and `dvc.yaml` lists the same sections as the stage's params.

    Attributes:
        paths: the profile's files.
        study: the study that the stage runs for, where it runs once per study.
    """

    def __init__(self, argv: Sequence[str] | None, description: str | None, *, studies: Sequence[str] = ()) -> None:
        """Read the command line: a profile, and one of `studies` where there are any."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("profile", help="name of a file in configs/, without .yaml")
        if studies:
            parser.add_argument("study", choices=studies)
        arguments = parser.parse_args(argv)
        self.paths = RunPaths(project_root(), arguments.profile)
        self.study: str = arguments.study if studies else ""
        if "DVC_STAGE" in os.environ:
            end_with_parent()

    def read(self, section: str, kind: type[T]) -> T:
        """Return one section of the profile.

        Raises:
            ConfigError: it is missing, or a key of it is unknown or of the wrong kind.
        """
        return read_section(self.paths.config, section, kind)

    def read_all(self, kind: type[S]) -> S:
        """Return the sections of the profile that are the fields of `kind`, a class of settings, as one.

        Raises:
            ConfigError: as `read`.
        """
        content = read_yaml(self.paths.config)
        sections = {name: content[name] for name in kind.model_fields if name in content}
        return parse_settings(kind, sections, source=str(self.paths.config))


class NetworkStage(Stage):
    """A stage that runs networks; a fault anywhere in the profile shows before any work is done.

    Its methods import torch, which stages that only read tables do without.
    """

    def __init__(self, argv: Sequence[str] | None, description: str | None, *, studies: Sequence[str] = ()) -> None:
        super().__init__(argv, description, studies=studies)
        from alit.config import load_profile

        load_profile(self.paths.config)

    @cached_property
    def device(self) -> "torch.device":
        """Where networks run that one process runs alone."""
        from alit.training.engine.fabric import build_fabric

        return build_fabric(self.read("device", str), devices=1).device

    def fabric(self, precision: str) -> "Fabric":
        """Return a launched Fabric for a training in all processes of the profile."""
        from alit.training.engine.fabric import build_fabric

        return build_fabric(self.read("device", str), self.read("devices", int), precision)

    @cached_property
    def train_set(self) -> "ImageSet":
        """The profile's first training set."""
        return self._first("train")

    @cached_property
    def evaluation_set(self) -> "ImageSet":
        """The profile's first evaluation set: the in-distribution images."""
        return self._first("evaluate")

    def sets(self, names: Sequence[str]) -> "list[ImageSet]":
        """Open sets by name."""
        from alit.data.imageset import open_set

        return [open_set(self.paths.data / name) for name in names]

    def _first(self, role: str) -> "ImageSet":
        from alit.data.imageset import open_set, read_cards

        found = next((card for card in read_cards(self.paths.data) if card.role == role), None)
        if found is None:
            raise DataError(f"expected a set with role {role} in {self.paths.data}, found none; run the data stage")
        return open_set(self.paths.data / found.name)


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame], prefix: str) -> None:
    """Write tables as `<folder>/<prefix>_<name>.parquet`, in place of what the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{prefix}_{name}.parquet", index=False)


def end_with_parent() -> None:
    """Kill this process within a second of the death of the one that started it.

    A stage that outlives a killed `dvc repro` would write the same files as the run that follows. What it has
    saved so far stays, and the next run continues from there.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
