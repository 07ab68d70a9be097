"""The studies, one folder each: tables, claims, figures and, where one looks into networks, a measurement.

A study's `claims` module registers its claims as `CLAIMS`, from id to the function that assesses it.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from alit.analysis.choices import with_choices
from alit.analysis.claims import Claim, Statement, claim_order
from alit.analysis.ledger import ledger_from_json
from alit.analysis.loading import load_study_data
from alit.analysis.study_data import StudyData
from alit.analysis.sweep_folder import SweepFolder, find_sweep
from alit.analysis.trainings import mean_claim
from alit.errors import ConfigError, DataError

STUDIES = (
    "reconstruction",
    "complexity",
    "familiarity",
    "tsc_toi",
    "adaptivity",
    "strength",
    "probe",
    "attention",
    "codebook",
    "ablations",
    "cost",
)


# These look into the networks of the profile's own tokenizer: their claims are about this one training. Those of the
# others follow from sweeps, and are about all trainings that were swept.
MEASURED = frozenset({"probe", "attention", "codebook", "ablations", "cost"})


def study_claims(study: str) -> Mapping[str, Callable[[StudyData], Claim]]:
    """Return the claims of one study, one of `STUDIES`, by id."""
    return import_module(f"alit.studies.{study}.claims").CLAIMS


def all_claims() -> dict[str, Callable[[StudyData], Claim]]:
    """Return the claims of all studies by id: the paper's, then the suite's own, in the order of their numbers."""
    found = {name: assess for study in STUDIES for name, assess in study_claims(study).items()}
    return {name: found[name] for name in sorted(found, key=claim_order)}


def all_statements() -> tuple[Statement, ...]:
    """Return the fixed part of every claim, in the order of `all_claims`: what is claimed, and what decides it."""
    modules = (import_module(f"alit.studies.{study}.claims") for study in STUDIES)
    found = {each.id: each for module in modules for each in vars(module).values() if isinstance(each, Statement)}
    return tuple(found[name] for name in all_claims())


def assess(data: StudyData, ids: Iterable[str] | None = None) -> tuple[Claim, ...]:
    """Assess the claims of the given ids, in their order; by default all."""
    claims = all_claims()
    studies = {name: study for study in STUDIES for name in study_claims(study)}
    return tuple(_assess(studies[name], claims[name], data) for name in (claims if ids is None else ids))


def assess_study(study: str, data: StudyData) -> Iterator[Claim]:
    """Assess the claims of one study, one after another; each names the checkpoint that was measured."""
    for claim in study_claims(study).values():
        yield _assess(study, claim, data)


def _assess(study: str, claim: Callable[[StudyData], Claim], data: StudyData) -> Claim:
    others = () if study in MEASURED else data.trainings.values()
    assessed = mean_claim([claim(data), *(claim(each) for each in others)])
    return replace(assessed, checkpoint=data.checkpoint)


class Study(NamedTuple):
    """One study of one sweep, with what the caller chose: its inputs, and the folder of its figures."""

    name: str
    data: StudyData
    figures: Path
    sweep: SweepFolder
    chosen: bool  # whether something differs from the defaults

    def claims(self) -> tuple[Claim, ...]:
        """Return the study's claims: as the run's ledger has them, or assessed now where the inputs are others."""
        run = self.sweep.run
        kept = None if run is None or self.chosen else run.study_claims(self.name)
        if kept is not None and kept.is_file():
            return ledger_from_json(kept.read_text(encoding="utf-8"))
        return tuple(assess_study(self.name, self.data))


def open_study(
    name: str,
    sweep: str | Path = "",
    *,
    measured: str | Path | None = None,
    dataset: str = "",
    criteria: Mapping[str, Sequence[float]] | None = None,
    tasks: Sequence[str] = (),
    familiarity: Sequence[str] = (),
    resamples: int | None = None,
    figures: str | Path = "",
    chosen: bool = False,
) -> Study:
    """Open a study on a sweep, from any working directory; writes nothing.

    Figures go to `reports/<profile>/<name>/figures` for the sweep of a run, to the same below
    `reports/<profile>/baselines/<baseline>/` for that of a baseline, and to `<sweep>/figures/<name>` elsewhere. Where
    anything but the sweep is chosen, a folder `chosen` comes before `<name>`, so that the report keeps its figures.

    Args:
        name: one of `STUDIES`.
        sweep: see `find_sweep`.
        measured: for a study that looks into a tokenizer, the folder of its measurement; "" is that of the sweep's run.
        dataset: see `with_choices`, as for the next four; what is empty or 0 keeps its default.
        criteria: thresholds by score.
        tasks: score columns.
        familiarity: sets, progressively less like the training images.
        resamples: bootstrap resamples.
        figures: another folder for the figures.
        chosen: whether further parameters of the notebook differ from their defaults.

    Raises:
        DataError: there is no such sweep, or the study needs a measurement that this tokenizer does not have.
        ConfigError: see `with_choices`; or papermill was given a parameter that the notebook does not have.
    """
    _refuse_unread_parameters()
    found = find_sweep(sweep)
    tables = None if measured is None else find_measurement(name, found, measured)
    data = load_study_data(found, tables, trainings=name not in MEASURED)
    data = with_choices(
        data, dataset=dataset, criteria=criteria, tasks=tasks, familiarity=familiarity, resamples=resamples
    )
    chosen = bool(chosen or dataset or criteria or tasks or familiarity or resamples or measured)
    folder = found.figures / "chosen" / name if chosen else found.figures / name
    default = folder if found.root is None else folder / "figures"
    return Study(name, data, Path(figures) if figures else default, found, chosen)


def _refuse_unread_parameters() -> None:
    """Refuse what papermill assigned in a notebook whose cell of parameters does not have it.

    No cell would read such a name: the notebook would show its defaults in place of what was asked for.

    Raises:
        ConfigError: some injected name is not a parameter.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    known: set[str] = set()
    for cell in () if shell is None else shell.user_ns.get("_ih", ()):
        try:
            lines = ast.parse(cell).body
        except SyntaxError:  # a magic, which assigns no parameter
            continue
        targets = [
            target
            for line in lines
            if isinstance(line, ast.Assign | ast.AnnAssign)
            for target in (line.targets if isinstance(line, ast.Assign) else [line.target])
        ]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        unread = names - known if cell.startswith("# Parameters\n") else set()  # papermill's comment
        if unread:
            raise ConfigError(
                f"expected parameters of the notebook ({', '.join(sorted(known))}), found {', '.join(sorted(unread))}"
            )
        known |= names


def find_measurement(study: str, sweep: SweepFolder, measured: str | Path = "") -> Path:
    """Return the folder of a study's measurement: as named, else that of the run whose own tokenizer was swept.

    Raises:
        DataError: there is none; a baseline has none, since only the run's own tokenizer is looked into.
    """
    folder = Path(measured) if measured else None if sweep.run is None else sweep.run.measured(study)
    if folder is None or not any(folder.glob("*.parquet")):
        raise DataError(
            f"expected a measurement of {study} for the tokenizer of {sweep.folder}, found none; "
            f"name its folder as the parameter measured, or run: dvc repro"
        )
    return folder
