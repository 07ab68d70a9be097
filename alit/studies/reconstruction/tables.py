"""Reconstruction quality at every length, and how many images take each length (paper, Tab. 1, Fig. 3 right)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.distances import DistanceKind, sample_distances
from alit.analysis.grid import MIN_IMAGES, SweepGrid, every_length, metric_info
from alit.analysis.selection import Allocation, BootstrapConfig
from alit.analysis.study_data import StudyData

PIXEL_ERRORS = ("l1", "psnr", "ssim")
KINDS: tuple[DistanceKind, ...] = ("frechet", "kernel")  # of distances that Tab. 1 has


def rate_table(grid: SweepGrid, columns: Sequence[str], bootstrap: BootstrapConfig) -> pd.DataFrame:
    """Return means per data set, length and measure with bootstrap intervals.

    Returns:
        Columns dataset, images (without nulls in the measure), length, measure, label, better, value, low, high.
    """
    parts = []
    for name in grid.datasets:
        for column in columns:
            here = grid.dataset(name).complete([column])
            if len(here):
                samples = resampled_means(here.score(column), bootstrap.resamples, bootstrap.seed)
                parts.append(_rows(here, column, samples, bootstrap))
    return pd.concat(parts, ignore_index=True)


def reconstruction_columns(grid: SweepGrid) -> list[str]:
    """Return the measures of reconstruction that a table has: pixel errors and perceptual distances."""
    return [*(name for name in PIXEL_ERRORS if name in grid.scores), *grid.columns("perceptual_")]


def study_rates(data: StudyData) -> pd.DataFrame:
    """Return the measures of Tab. 1 on every data set at every length; columns as `rate_table`.

    L1, PSNR, SSIM, perceptual distances and, where there are reference features, the Fréchet and the kernel distance
    of all reconstructions of a length from the untouched images of the same set.
    """
    table = rate_table(data.grid, reconstruction_columns(data.grid), data.bootstrap)
    extractor = data.settings.feature_extractor
    features, parts = data.reference_features, [table]
    if features is None or extractor not in data.features or data.grid.clean_rows is None:
        return table  # a kept run has the distances of its claims alone
    for kind in KINDS:
        for name in data.grid.datasets:
            here = data.grid.dataset(name)
            if len(here) >= MIN_IMAGES:
                samples = sample_distances(features, kind, here, every_length(here), data.bootstrap)
                parts.append(_rows(here, f"{kind}_{extractor}", samples, data.bootstrap))
    return pd.concat(parts, ignore_index=True)


def tabulate(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the form of Tab. 1: a row per measure and data set, a column per length, value ± half the interval."""
    half = (rates["high"] - rates["low"]) / 2
    arrow = np.where(rates["better"] == "lower", " ↓", " ↑")
    table = pd.DataFrame(
        {
            "measure": rates["label"] + arrow,
            "images": rates["dataset"] + " (n = " + rates["images"].astype(str) + ")",
            "tokens": rates["length"],
            "cell": [f"{value:.3g} ±\u00a0{spread:.2g}" for value, spread in zip(rates["value"], half, strict=True)],
        }
    )
    found = pd.MultiIndex.from_arrays([table["measure"], table["images"]]).unique()
    order = [row for name in table["measure"].unique() for row in found if row[0] == name]
    return table.pivot(index=["measure", "images"], columns="tokens", values="cell").loc[order]


def rates_by_bits(sweeps: Mapping[str, SweepGrid], dataset: str, bootstrap: BootstrapConfig) -> pd.DataFrame:
    """Return the rates of several tokenizers on one data set, with their bits, since a codec has no tokens to count.

    Args:
        sweeps: name of a tokenizer -> its sweep; those that lack the data set are left out.
        dataset: the set.
        bootstrap: resampling.

    Returns:
        Columns tokenizer, bits (mean per image), and those of `rate_table`; measures that all tokenizers have.
    """
    here = {name: grid.dataset(dataset) for name, grid in sweeps.items() if dataset in grid.datasets}
    known = [reconstruction_columns(grid) for grid in here.values()]
    columns = [name for name in known[0] if all(name in other for other in known)]
    parts = []
    for name, grid in here.items():
        rates = rate_table(grid, columns, bootstrap)
        places = np.searchsorted(grid.lengths, rates["length"].to_numpy())
        parts.append(rates.assign(tokenizer=name, bits=grid.score("bits").mean(axis=0)[places]))
    return pd.concat(parts, ignore_index=True)


def protocol(data: StudyData) -> pd.DataFrame:
    """Return what the numbers were made with, as the sweep recorded it: columns part, setting.

    Images with their view (resize and crop), the rounding of reconstructions, and each network with its weights.
    """
    record = data.record
    rows = [
        (f"images of {part['dataset']}", f"{part['images']} at {part['image_size']} px; {part['view']}")
        for part in record.get("images", ())
    ]
    if "reconstructions" in record:
        rows.append(("reconstructions as files", str(record["reconstructions"])))
    for part in [*record.get("tasks", ()), *record.get("extractors", ())]:
        if "weights_sha256" in part:
            view = f"{part['architecture']} at {part['input_size']} px, {part['resize']}"
            rows.append((f"{part['kind']} {part['name']}", f"{view}; weights {part['weights_sha256'][:12]}"))
    return pd.DataFrame(list(dict.fromkeys(rows)), columns=["part", "setting"])


def length_counts(grid: SweepGrid, allocation: Allocation) -> pd.DataFrame:
    """Count images by selected length and threshold: columns threshold, length, images, share, unsatisfied."""
    rows = []
    for column, threshold in enumerate(allocation.thresholds):
        positions = allocation.positions[:, column]
        counts = np.bincount(positions, minlength=len(grid.lengths))
        unsatisfied = np.bincount(positions[~allocation.satisfied[:, column]], minlength=len(grid.lengths))
        for length, count, never in zip(grid.lengths, counts, unsatisfied, strict=True):
            rows.append((float(threshold), int(length), int(count), count / len(grid), never / len(grid)))
    return pd.DataFrame(rows, columns=["threshold", "length", "images", "share", "unsatisfied"])


def _rows(grid: SweepGrid, column: str, samples: np.ndarray, bootstrap: BootstrapConfig) -> pd.DataFrame:
    """Return the rows of one data set and measure from samples (1 + r, l)."""
    described = metric_info(column)
    return interval_table(
        samples,
        bootstrap.confidence,
        dataset=grid.datasets[0],
        images=len(grid),
        length=grid.lengths,
        measure=column,
        label=described.label,
        better=described.better,
    )
