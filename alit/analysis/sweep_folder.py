"""Where a sweep lies, whose run it is part of, and where its figures go."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from alit.errors import DataError
from alit.paths import RunPaths, project_root
from alit.settings import read_yaml


class SweepFolder(NamedTuple):
    """A folder with a sweep's table.parquet and config.json, and the run that it is part of, if it is."""

    folder: Path
    root: Path | None = None  # the checkout, where the folder lies below its runs/<profile>/
    profile: str = ""
    baseline: str = ""  # name of the baseline that was swept; empty for the run's own tokenizer

    @property
    def figures(self) -> Path:
        """Where figures of the sweep go: one folder per study below."""
        if self.root is None:
            return self.folder / "figures"
        return RunPaths(self.root, self.profile, self.baseline).report

    @property
    def run(self) -> RunPaths | None:
        """The run whose own tokenizer was swept; None for a baseline or a folder outside any run."""
        return RunPaths(self.root, self.profile) if self.root is not None and not self.baseline else None

    @property
    def config(self) -> Path | None:
        """The profile's settings."""
        return None if self.root is None else RunPaths(self.root, self.profile).config

    @property
    def settings(self) -> Path | None:
        """Seed and section `analysis` of the run: as its stage wrote them, else the whole profile."""
        if self.root is None:
            return None
        written = RunPaths(self.root, self.profile).analysis
        return written if written.is_file() else self.config


def find_sweep(sweep: str | Path = "") -> SweepFolder:
    """Find a sweep: `runs/<profile>/sweep`, `runs/<profile>/baselines/<name>`, or any folder with a table.parquet.

    Args:
        sweep: relative to the working directory, else to the checkout; empty takes the profile of params.yaml.

    Raises:
        DataError: there is no such folder, or it holds no table.
    """
    if not sweep:
        root = project_root()
        sweep = root / "runs" / read_yaml(root / "params.yaml")["profile"] / "sweep"
    folder = Path(sweep)
    if not folder.is_absolute() and not folder.exists():
        folder = project_root() / folder
    if not (folder / "table.parquet").is_file():
        raise DataError(f"expected a sweep with table.parquet in {sweep}, found none; run dvc repro, or name another")
    folder = folder.resolve()
    for run in folder.parents:
        name = folder.relative_to(run).parts
        if run.parent.name == "runs" and (run.parent.parent / "configs" / f"{run.name}.yaml").is_file():
            if name == ("sweep",):
                return SweepFolder(folder, run.parent.parent, run.name)
            if len(name) == 2 and name[0] == "baselines":
                return SweepFolder(folder, run.parent.parent, run.name, name[1])
    return SweepFolder(folder)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table in Parquet.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow and pandas raise a dozen classes on damaged files
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read as a table: {reason}; run the stage that writes it again") from error
