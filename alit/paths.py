"""Where a profile's files lie: the one place that knows the layout of `runs/` and `reports/`."""

import os
from pathlib import Path
from typing import NamedTuple

from alit.errors import DataError

TRAINING = "seed_"  # begins the names of the sweeps, beside those of baselines, of other trainings of the tokenizer
TARGET = "target"  # as `init_from`: the profile's tokenizer is somebody else's, which section tokenizer names
TARGET_FILE = "target.json"  # of a folder that stands for a tokenizer by name: its target, arguments and options
NOT_MEASURED = (
    "not_measured"  # `<study>_` before it: the table of a study that could not measure; one row, column reason
)


def project_root(start: Path | None = None) -> Path:
    """Return the folder that holds `dvc.yaml`: above `start`, else above this package.

    Notebooks run from any working directory, so nothing is resolved against the current one alone.

    Raises:
        DataError: neither `start` nor the package lies in a checkout of the suite.
    """
    candidates = [start or Path.cwd(), Path(__file__).parent]
    for candidate in candidates:
        for folder in (candidate.resolve(), *candidate.resolve().parents):
            if (folder / "dvc.yaml").is_file() and (folder / "configs").is_dir():
                return folder
    raise DataError(f"expected a checkout with dvc.yaml above {candidates[0]}, found none; run from the repository")


class RunPaths(NamedTuple):
    """The files of one profile under `root`; every stage's outs and deps are among these."""

    root: Path
    profile: str
    swept: str = ""  # a baseline whose sweep to look at; empty is the profile's own tokenizer

    @property
    def config(self) -> Path:
        """`configs/<profile>.yaml`, the settings of every stage."""
        return self.root / "configs" / f"{self.profile}.yaml"

    @property
    def run(self) -> Path:
        """`runs/<profile>`: data, checkpoints and tables."""
        return self.root / "runs" / self.profile

    @property
    def data(self) -> Path:
        """One folder per image set: `manifest.csv`, and packed arrays where the profile packs."""
        return self.run / "data"

    @property
    def rejected(self) -> Path:
        """Images that could not be read, with the reason."""
        return self.run / "rejected.csv"

    @property
    def task_models(self) -> Path:
        """One folder per task model trained by the pipeline."""
        return self.run / "task_models"

    @property
    def pretrained(self) -> Path:
        """Trained networks that training goes on from, or only a note that there are none."""
        return self.run / "pretrained"

    @property
    def kept(self) -> Path:
        """One folder per variant and seed whose finished training is taken, as it lies in the checkout."""
        return self.run / "kept"

    @property
    def base(self) -> Path:
        """The frozen base tokenizer."""
        return self.run / "base"

    @property
    def distilled(self) -> Path:
        """The tokenizer after stage 1."""
        return self.run / "distilled"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer after stage 2: the one the studies measure."""
        return self.run / "tokenizer"

    @property
    def length_predictor(self) -> Path:
        """What predicts the loss of that tokenizer at every length, or a note why there is nothing."""
        return self.run / "length_predictor"

    @property
    def sweep(self) -> Path:
        """`table.parquet` and one `features_<extractor>.npy` per extractor, row-aligned."""
        return self.baselines / self.swept if self.swept else self.run / "sweep"

    @property
    def table(self) -> Path:
        """The sweep table."""
        return self.sweep / "table.parquet"

    @property
    def variants(self) -> Path:
        """One checkpoint per variant and seed that the ablations compare."""
        return self.run / "variants"

    @property
    def baselines(self) -> Path:
        """One sweep per other tokenizer and per other training of the own (`TRAINING`), each as `sweep`."""
        return self.run / "baselines"

    def measured(self, study: str) -> Path:
        """Tables of a study that runs networks of its own, one parquet file each; `StudyData.tables` holds them."""
        return self.run / "measured" / study

    @property
    def analysis(self) -> Path:
        """Seed and section `analysis` of the profile, as the run's studies read them."""
        return self.run / "analysis.yaml"

    @property
    def examples(self) -> Path:
        """Reconstructions at every length of a few images that may be shown."""
        return self.run / "examples"

    @property
    def pictures(self) -> Path:
        """Composed scenes by the tokenizer, its baselines and its variants; none where the profile has no scenes."""
        return self.examples / "pictures.parquet"

    @property
    def thumbnails(self) -> Path:
        """Small pictures of images of the evaluation set at every length, for the explorer."""
        return self.run / "thumbnails.parquet"

    def study_claims(self, study: str) -> Path:
        """The claims of one study, assessed by its stage."""
        return self.run / "claims" / f"{study}.json"

    def executed(self, study: str) -> Path:
        """The executed notebook of one study, and what the site needs to know about it."""
        return self.root / "reports" / self.profile / "executed" / study

    @property
    def claims(self) -> Path:
        """The claims ledger."""
        return self.run / "claims.json"

    @property
    def report(self) -> Path:
        """`reports/<profile>`: the static site; of a baseline, its figures."""
        folder = self.root / "reports" / self.profile
        return folder / "baselines" / self.swept if self.swept else folder

    @property
    def scratch(self) -> Path:
        """Resume state of unfinished stages; `$ALIT_SCRATCH`, by default `.scratch/` in the checkout."""
        return Path(os.environ.get("ALIT_SCRATCH") or self.root / ".scratch")
