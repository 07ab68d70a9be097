"""Tables of every study that measures its own, as its stage would write them for a project of synthetic images."""

from collections.abc import Callable, Iterable

import pandas as pd
from synthetic_attention import attention_tables
from synthetic_codebook import codebook_tables, synthetic_ids
from synthetic_comparison import ablation_tables, cost_tables
from synthetic_probe import probe_tables

from alit.paths import RunPaths

IMAGES = 60  # of each set, as many as `write_project` has


def _codebook(sets: Iterable[str]) -> dict[str, pd.DataFrame]:
    return codebook_tables({name: synthetic_ids(IMAGES, seed=seed) for seed, name in enumerate(sets)})


def _probe(sets: Iterable[str]) -> dict[str, pd.DataFrame]:
    return probe_tables(IMAGES, dataset=next(iter(sets)))


def _attention(sets: Iterable[str]) -> dict[str, pd.DataFrame]:
    return attention_tables(IMAGES, tuple(sets)[:1])


MEASURED: dict[str, Callable[[Iterable[str]], dict[str, pd.DataFrame]]] = {
    "attention": _attention,
    "codebook": _codebook,
    "probe": _probe,
    "ablations": lambda sets: ablation_tables(IMAGES),
    "cost": lambda sets: cost_tables(),
}


def write_measured(paths: RunPaths, sets: Iterable[str]) -> None:
    """Write the tables of every study of a profile."""
    names = tuple(sets)
    for study, make in MEASURED.items():
        paths.measured(study).mkdir(parents=True)
        for name, table in make(names).items():
            table.to_parquet(paths.measured(study) / f"{name}.parquet", index=False)
