"""Reads what the studies are computed from: the tables, features and records of a sweep, or of a whole run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alit.analysis.choices import settings_of_table
from alit.analysis.distances import FeatureDistances
from alit.analysis.grid import KEY, SweepGrid, to_grid
from alit.analysis.study_data import AnalysisConfig, StudyData
from alit.analysis.sweep_folder import SweepFolder, find_sweep, read_table
from alit.data.sources import FACTORS
from alit.errors import DataError
from alit.files import read_json
from alit.paths import TRAINING, RunPaths
from alit.settings import read_section, read_yaml

DISTANCES = "distances_"  # file of the sweep's folder in which a kept run has the distances on one extractor


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


def load_run_data(paths: RunPaths) -> StudyData:
    """Read a run's own sweep and the measurements of all its studies: what the whole ledger is computed from."""
    data = load_study_data(find_sweep(paths.sweep))
    tables = {path.stem: read_table(path) for path in sorted(paths.measured("").glob("*/*.parquet"))}
    return data._replace(tables=tables)


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


def _read_features(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy and zipfile raise a dozen classes on damaged files
        raise DataError(f"{path} cannot be read as features: {error}; run the sweep stage again") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"expected features as floats (rows, d) in {path}, found {found}; run the sweep stage again")
    return array


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
