"""What every stage's script begins with: the profile that it runs for, its paths and settings, and tables to write."""

import argparse
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
import psutil

from alit.paths import RunPaths, project_root
from alit.settings import Settings, parse_settings, read_section, read_yaml

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # a class, and what is none: X | None, Literal, Annotated

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
        if "DVC_STAGE" in os.environ or os.environ.get("LOCAL_RANK", "0") != "0":
            end_with_parent()

    def read(self, section: str, kind: "TypeForm[T]") -> T:
        """Return one section of the profile.

        Raises:
            ConfigError: it is missing, or a key of it is unknown or of the wrong kind.
        """
        return read_section(self.paths.config, section, kind)

    def read_all(self, kind: type[S], **known: Any) -> S:
        """Return the sections of the profile that are the fields of `kind`, a class of settings, as one.

        `known` are sections that were read elsewhere.

        Raises:
            ConfigError: as `read`.
        """
        content = read_yaml(self.paths.config)
        sections = {name: content[name] for name in kind.model_fields if name in content} | known
        return parse_settings(kind, sections, source=str(self.paths.config))


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
    started_by = lineage()

    def watch() -> None:
        while lineage() == started_by:
            time.sleep(0.25)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def lineage() -> tuple[int, ...]:
    """Return the process ids of the parent and, where that is a shell at one command, of the shell's parent.

    Some shells replace themselves by the command that they were given (bash), others stay and wait (dash): killing
    what started such a shell leaves it and its command at work.
    """
    try:
        parent = psutil.Process(os.getppid())
        shell = parent.name().endswith("sh") and "-c" in parent.cmdline()
        return (parent.pid, parent.ppid()) if shell else (parent.pid,)
    except psutil.Error:  # it has just ended
        return ()
