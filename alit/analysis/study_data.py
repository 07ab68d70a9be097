"""What the studies and the claims are computed from: the folded sweep table, features, and the settings to ask with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from alit.analysis.distances import FeatureDistances, Features
from alit.analysis.grid import KEY, SweepGrid, to_grid
from alit.analysis.selection import BootstrapConfig, SelectionCriterion, criterion_on, own_column
from alit.data.sources import FACTORS
from alit.errors import ConfigError, DataError
from alit.files import read_json
from alit.paths import NOT_MEASURED, TRAINING, RunPaths, project_root
from alit.settings import Settings, parse_settings, read_section, read_yaml
from alit.tokenizer.origin import origin_of_sweep

DISTANCES = "distances_"  # file of the sweep's folder in which a kept run has the distances on one extractor


class AnalysisConfig(Settings):
    """What the studies and the claims ledger ask of the table."""

    resamples: PositiveInt  # bootstrap resamples over images
    confidence: float = Field(gt=0, lt=1)
    l1_thresholds: tuple[float, ...]
    class_ranks: tuple[int, ...]  # top-X criteria
    class_ranks_among: Literal["set", "all"] = "set"  # the data set's own classes, or all of the network's (the paper)
    depth_thresholds: tuple[float, ...]
    perceptual_thresholds: tuple[float, ...]
    caption_thresholds: tuple[float, ...]  # least token F1
    # Task models, the last is the reference model; empty, as lists or names, where there is none. Which is the stronger
    # is measured.
    classifiers: tuple[str, ...]
    depth_models: tuple[str, ...]
    captioners: tuple[str, ...]
    perceptual_model: str
    feature_extractor: str
    familiarity: tuple[
        str, ...
    ]  # sets progressively less like the training images; the first is the next after in-distribution


class StudyData(NamedTuple):
    """The inputs of an analysis."""

    grid: SweepGrid
    dataset: str  # the in-distribution set: the profile's first with role evaluate
    base_tokens: int  # image tokens of the base tokenizer; capacities are a share of them
    settings: AnalysisConfig
    seed: int
    features: Mapping[str, np.ndarray]  # extractor -> (table rows, f); a kept run has none
    tables: Mapping[str, pd.DataFrame] = MappingProxyType({})  # name -> a table that a study measured beside the sweep
    controlled_scenes: SweepGrid | None = None  # in which one factor of complexity varies; not in `grid`
    checks: SweepGrid | None = None  # sets that only say how far depth networks may be trusted; not in `grid` either
    record: Mapping[str, Any] = MappingProxyType({})  # what the numbers are made with: the sweep's config.json
    chosen_criteria: tuple[str, ...] | None = None  # columns to draw curves of; None takes every reference score
    chosen_tasks: tuple[str, ...] | None = None  # columns to draw curves of; None takes every reference task
    distances: Mapping[str, FeatureDistances] = MappingProxyType({})  # extractor -> what its features give, or gave
    # Name of a baseline -> the same of another training of this tokenizer: other scores of the same images and lengths.
    trainings: Mapping[str, "StudyData"] = MappingProxyType({})

    @property
    def bootstrap(self) -> BootstrapConfig:
        """How intervals are made."""
        return BootstrapConfig(self.settings.resamples, self.settings.confidence, self.seed)

    @property
    def reference_features(self) -> Features | None:
        """What the reference distances between sets of images come from; None where there is nothing."""
        return self.features_of(self.settings.feature_extractor)

    def features_of(self, extractor: str) -> Features | None:
        """What distances between sets of images on an extractor come from; None where there is nothing.

        Its features, with every distance computed once; or, of a run that is kept without features, the distances that
        its ledger asked for.
        """
        return self.distances.get(extractor, self.features.get(extractor))

    @property
    def rank_column(self) -> str:
        """Class rank of the reference classifier (the paper's ResNet-18), among the classes that the settings say."""
        return own_column(self.accuracy_column)

    @property
    def accuracy_column(self) -> str:
        """Top-1 accuracy of the reference classifier."""
        return self.accuracy_of(self.settings.classifiers[-1] if self.settings.classifiers else "")

    def accuracy_of(self, classifier: str) -> str:
        """Top-1 accuracy of a classifier, among the set's classes where the settings want that and the table has it."""
        own = f"top1_in_set_{classifier}"
        return own if self.settings.class_ranks_among == "set" and self.measured(own) else f"top1_{classifier}"

    def accuracy_among_all(self, classifier: str) -> str | None:
        """Accuracy of a classifier among all its classes where another decides; None where the two are the same.

        They are where the network has the classes of the set and no others.
        """
        own, among_all = self.accuracy_of(classifier), f"top1_{classifier}"
        if own == among_all or not self.measured(among_all):
            return None
        here = self.grid.dataset(self.dataset)
        same = all(np.array_equal(each[own], each[among_all], equal_nan=True) for each in (here.clean, here.scores))
        return None if same else among_all

    @property
    def depth_column(self) -> str | None:
        """Depth error of the reference depth model (the paper's Depth Anything V2), where the profile has one."""
        return f"depth_error_{self.settings.depth_models[-1]}" if self.settings.depth_models else None

    @property
    def caption_column(self) -> str | None:
        """Caption score of the reference captioner (the paper's BLIP), where the profile has one."""
        return f"caption_score_{self.settings.captioners[-1]}" if self.settings.captioners else None

    @property
    def perceptual_column(self) -> str:
        """Reference perceptual distance."""
        return f"perceptual_{self.settings.perceptual_model}"

    def measured(self, *columns: str | None) -> tuple[str, ...]:
        """Those of the columns that hold values on the in-distribution set."""
        here = (self.grid.images["dataset"] == self.dataset).to_numpy(dtype=bool)
        known = (name for name in columns if name is not None and name in self.grid.scores)
        return tuple(name for name in known if np.isfinite(self.grid.score(name)[here]).any())

    @property
    def checkpoint(self) -> str:
        """Whose weights were measured; empty where the sweep's record does not say."""
        return "" if (origin := origin_of_sweep(self.record)) is None else origin.describe()

    def why_not_measured(self, study: str, otherwise: str) -> str:
        """Return why a study's own measurement has no tables: as its stage wrote it down, else the given words."""
        table = self.tables.get(f"{study}_{NOT_MEASURED}")
        return otherwise if table is None else str(table["reason"].iloc[0])

    def task_grid(self) -> SweepGrid:
        """The in-distribution images with a score in every criterion and task, so that curves share their images."""
        known = {*self.criterion_columns(), *self.task_columns(), *self.measured(*(self.chosen_tasks or ()))}
        return self.grid.dataset(self.dataset).complete(known)

    def criterion_columns(self) -> tuple[str, ...]:
        """Reference scores that tokens can be selected by, those that are measured."""
        columns = ("l1", self.rank_column, self.depth_column, self.perceptual_column, self.caption_column)
        return self.measured(*columns)

    def task_columns(self) -> tuple[str, ...]:
        """Reference tasks with a score for each image, those that are measured; the Fréchet distance has none."""
        return self.measured(self.accuracy_column, self.depth_column, self.perceptual_column, self.caption_column)

    def criteria(self) -> tuple[tuple[SelectionCriterion, tuple[float, ...]], ...]:
        """The selection criteria that can be measured here, or those that were chosen, each with its thresholds."""
        known = {
            "l1": self.settings.l1_thresholds,
            self.rank_column: tuple(map(float, self.settings.class_ranks)),
            self.depth_column: self.settings.depth_thresholds,
            self.perceptual_column: self.settings.perceptual_thresholds,
            self.caption_column: self.settings.caption_thresholds,
        }
        columns = self.criterion_columns()
        if self.chosen_criteria is not None:
            columns = tuple(name for name in columns if name in self.chosen_criteria)
        return tuple((criterion_on(name), known[name]) for name in columns if known[name])


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


def load_sweeps(sweep: SweepFolder) -> dict[str, SweepGrid]:
    """Read a run's own sweep ("own") and those of its baselines, by name; a sweep outside any run alone, as "own".

    Other trainings of the own tokenizer are no baselines.
    """
    tables = {"own": sweep.folder / "table.parquet"}
    if sweep.root is not None:
        paths = RunPaths(sweep.root, sweep.profile)
        tables = {"own": paths.table}
        found = sorted(paths.baselines.glob("*/table.parquet"))
        tables |= {path.parent.name: path for path in found if not path.parent.name.startswith(TRAINING)}
    return {name: to_grid(read_table(path)) for name, path in tables.items()}


def load_study_data(sweep: SweepFolder, tables: Path | None = None, *, trainings: bool = True) -> StudyData:
    """Read a sweep table with its features, and the settings that the sweep's own record and run give.

    Args:
        sweep: where the table lies.
        tables: folder of a study's own measurement, read as well.
        trainings: whether to read the sweeps of other trainings of a run's own tokenizer; a study that looks into the
            networks of one is about that one, and its stages do not wait for the others.

    Returns:
        The inputs. A folder outside any run has the settings of `settings_of_table`, the first extractor that it holds
        features of, and without a config.json capacities as shares of the longest length.

    Raises:
        DataError: the table is incomplete, or the features do not match its rows.
        ConfigError: the settings of the run are not valid.
    """
    table = read_table(sweep.folder / "table.parquet")
    record = _read_record(sweep.folder / "config.json")
    if sweep.config is None or sweep.settings is None:
        settings, seed = settings_of_table(table), 0
        names, controlled, checks = list(dict.fromkeys(table["dataset"])), [], []
    else:
        settings = read_section(sweep.settings, "analysis", AnalysisConfig)
        seed = read_section(sweep.settings, "seed", int)
        names, controlled, checks = _roles(record, sweep.config)
    whole = to_grid(table).arranged([*names, *controlled, *checks])
    aside = whole.images["dataset"].isin([*controlled, *checks]).to_numpy(dtype=bool)
    grid = whole.subset(~aside) if aside.any() else whole
    sets = [name for name in names if name in grid.datasets]
    if not sets:
        raise DataError(f"expected a data set of {sweep.config} in the sweep table, found {', '.join(grid.datasets)}")
    features = {}
    for path in sorted(sweep.folder.glob("features_*.npy")):
        features[path.stem.removeprefix("features_")] = array = _read_features(path)
        if len(array) != len(table):
            raise DataError(f"expected {len(table)} rows in {path}, found {len(array)}; run the sweep stage again")
    distances = {name: FeatureDistances(array) for name, array in features.items()}
    for path in sorted(sweep.folder.glob(f"{DISTANCES}*.parquet")):
        distances.setdefault(path.stem.removeprefix(DISTANCES), FeatureDistances.from_table(read_table(path)))
    if sweep.config is None:
        settings = settings.model_copy(update={"feature_extractor": next(iter(distances), "")})
    # The tokenizer that was swept says what its tokens are a share of; it need not be the run's own.
    base_tokens = record.get("tokenizer", {}).get("base_tokens", grid.longest)
    return StudyData(
        grid=grid,
        dataset=sets[0],
        base_tokens=base_tokens,
        settings=settings,
        seed=seed,
        features=features,
        tables={} if tables is None else {path.stem: read_table(path) for path in sorted(tables.glob("*.parquet"))},
        controlled_scenes=_only(whole, controlled),
        checks=_only(whole, checks),
        record=record,
        distances=distances,
        trainings=_load_trainings(sweep, grid, base_tokens) if trainings else {},
    )


def _load_trainings(sweep: SweepFolder, own: SweepGrid, base_tokens: int) -> dict[str, StudyData]:
    """Read the sweeps of other trainings of a run's own tokenizer, by the name of their folder.

    Raises:
        DataError: one has other images or lengths, or a base of other tokens.
    """
    if sweep.run is None or sweep.root is None:
        return {}
    found = {}
    for path in sorted(sweep.run.baselines.glob(f"{TRAINING}*/table.parquet")):
        each = load_study_data(SweepFolder(path.parent, sweep.root, sweep.profile, path.parent.name), trainings=False)
        same = own.images[list(KEY)].equals(each.grid.images[list(KEY)]) and each.base_tokens == base_tokens
        if not same or list(own.lengths) != list(each.grid.lengths):
            raise DataError(
                f"expected images, lengths and base_tokens of {sweep.folder} in {path}, found others; run stage "
                "baselines again"
            )
        found[path.parent.name] = each
    return found


def _read_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path)
    for key in ("images", "tasks", "extractors"):
        parts = content.get(key, [])
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise DataError(f"{path}: expected a list of mappings as {key}, found {parts!r}; run the sweep stage again")
    tokenizer = content.get("tokenizer", {})
    tokens = tokenizer.get("base_tokens", 1) if isinstance(tokenizer, dict) else None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise DataError(f"{path}: expected a whole number as base_tokens of tokenizer; run the sweep stage again")
    return content


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


def _read_features(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy and zipfile raise a dozen classes on damaged files
        raise DataError(f"{path} cannot be read as features: {error}; run the sweep stage again") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"expected features as floats (rows, d) in {path}, found {found}; run the sweep stage again")
    return array


def load_run_data(paths: RunPaths) -> StudyData:
    """Read a run's own sweep and the measurements of all its studies: what the whole ledger is computed from."""
    data = load_study_data(find_sweep(paths.sweep))
    tables = {path.stem: read_table(path) for path in sorted(paths.measured("").glob("*/*.parquet"))}
    return data._replace(tables=tables)


def with_choices(
    data: StudyData,
    *,
    dataset: str = "",
    criteria: Mapping[str, Sequence[float]] | None = None,
    tasks: Sequence[str] = (),
    familiarity: Sequence[str] = (),
    resamples: int | None = None,
) -> StudyData:
    """Return the inputs with what a caller chose in place of the defaults; what is empty or 0 keeps its default.

    Args:
        data: the inputs.
        dataset: a set of the table to take as the in-distribution set.
        criteria: thresholds by score: l1, class_rank, depth_error, perceptual or caption_score, or a whole column name
            of such a score; scores that are not named are no criteria.
        tasks: score columns, `top1_<model>` among them, and `frechet_<extractor>`.
        familiarity: sets of the table, progressively less like the training images.
        resamples: bootstrap resamples.

    Raises:
        ConfigError: the table has no such set or score.
    """
    choices: dict[str, Any] = {
        "dataset": dataset,
        "criteria": criteria,
        "tasks": tasks,
        "familiarity": familiarity,
        "resamples": resamples,
    }
    data = data._replace(trainings={name: with_choices(each, **choices) for name, each in data.trainings.items()})
    absent = [name for name in (dataset, *familiarity) if name and name not in data.grid.datasets]
    if absent:
        raise ConfigError(f"expected data sets among {', '.join(data.grid.datasets)}, found {', '.join(absent)}")
    data = data._replace(dataset=dataset or data.dataset)
    chosen: tuple[str, ...] | None = data.chosen_criteria
    changed: dict[str, Any] = {
        "resamples": resamples or data.settings.resamples,
        "familiarity": tuple(familiarity) or data.settings.familiarity,
    }
    if criteria:
        known = {
            "l1": ("l1", "l1_thresholds"),
            "class_rank": (data.rank_column, "class_ranks"),
            "depth_error": (data.depth_column, "depth_thresholds"),
            "perceptual": (data.perceptual_column, "perceptual_thresholds"),
            "caption_score": (data.caption_column, "caption_thresholds"),
        }
        columns = {column: key for column, key in known.values() if column is not None}
        chosen = ()
        for name, thresholds in criteria.items():
            column = known[name][0] if name in known else name
            if column not in columns:
                raise ConfigError(f"criteria: expected scores among {', '.join(known)}, found {name}")
            chosen += (column,)
            changed[columns[column]] = thresholds
    distances = [f"frechet_{extractor}" for extractor in data.features]
    unknown = [name for name in tasks if not data.measured(name) and name not in distances]
    if unknown:
        raise ConfigError(f"tasks: expected score columns of the table, found {', '.join(unknown)}")
    settings = parse_settings(AnalysisConfig, data.settings.model_dump() | changed, source="what was chosen")
    return data._replace(settings=settings, chosen_criteria=chosen, chosen_tasks=tuple(tasks) or data.chosen_tasks)


def settings_of_table(table: pd.DataFrame) -> AnalysisConfig:
    """Return settings for a table that belongs to no run: its own models, and thresholds at quantiles of its scores."""

    def models(prefix: str) -> tuple[str, ...]:
        return tuple(name.removeprefix(prefix) for name in table.columns if name.startswith(prefix))

    def quantiles(column: str) -> tuple[float, ...]:
        scores = table.loc[table["length"] > 0, column] if column in table else pd.Series(dtype=float)
        values = scores.dropna().quantile(np.linspace(0.1, 0.9, 9)).dropna()  # of no scores at all they are nan
        return tuple(float(f"{value:.3g}") for value in dict.fromkeys(values))

    classifiers = tuple(name for name in models("class_rank_") if not name.startswith("in_set_"))
    depth, captioners = models("depth_error_"), models("caption_score_")
    perceptual = (*models("perceptual_"), "")
    return AnalysisConfig(
        resamples=1000,
        confidence=0.95,
        l1_thresholds=quantiles("l1"),
        class_ranks=(1, 2, 3, 5, 10),
        depth_thresholds=quantiles(f"depth_error_{depth[-1]}") if depth else (),
        perceptual_thresholds=quantiles(f"perceptual_{perceptual[0]}"),
        caption_thresholds=quantiles(f"caption_score_{captioners[-1]}") if captioners else (),
        classifiers=classifiers,
        depth_models=depth,
        captioners=captioners,
        perceptual_model=perceptual[0],
        feature_extractor="",
        familiarity=tuple(dict.fromkeys(table["dataset"]))[1:],
    )


def _roles(record: Mapping[str, Any], config: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the swept sets in the profile's order: sampled, of controlled complexity, depth checks.

    Sweeps that were kept before their record named the sets have them in the profile's section `data`.
    """
    if "sets" in record:
        sets = [(each["name"], each["role"], each["controlled"]) for each in record["sets"]]
    else:
        listed = read_yaml(config)["data"]["sets"]
        sets = [(s["name"], s["role"], s["source"] == "scenes" and s["variant"] in FACTORS) for s in listed]
    swept = [each for each in sets if each[1] in ("evaluate", "depth_check")]
    checks = [name for name, role, _ in swept if role == "depth_check"]
    controlled = [name for name, _, is_controlled in swept if is_controlled]
    sampled = [name for name, _, _ in swept if name not in (*checks, *controlled)]
    return sampled, controlled, checks


def _only(whole: SweepGrid, datasets: list[str]) -> SweepGrid | None:
    """Return the images of some data sets, or None where there are none."""
    chosen = whole.images["dataset"].isin(datasets).to_numpy(dtype=bool)
    return whole.subset(chosen) if chosen.any() else None
