"""Complexity against loss and against selected length (paper, section 4, Fig. 4, 11, 12)."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from einops import rearrange

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.grid import CODEC_LABELS, SweepGrid, known_confounds, metric_info
from alit.analysis.rank_correlation import partial_spearman_samples, spearman_samples
from alit.analysis.selection import BootstrapConfig, SelectionCriterion, allocate_by_threshold, middle_threshold
from alit.analysis.study_data import StudyData
from alit.errors import DataError

MIN_IMAGES = 20  # fewer images with a complexity than this give no rank correlation worth an interval
CORRELATION_COLUMNS = ["dataset", "images", "kind", "setting", "predictor", "value", "low", "high"]
BIN_COLUMNS = ["dataset", "images", "bin", "complexity", "in_bin", "setting", "value", "low", "high"]
PARTIAL_COLUMNS = ["dataset", "images", "threshold", "predictor", "given", "value", "low", "high"]
FAN_COLUMNS = ["dataset", "images", "measure", "value", "low", "high"]
OWN_SHARE = 0.9  # of an image's own improvement
RISE_COLUMNS = ["dataset", "images", "kind", "setting", "value", "low", "high"]


def scored_datasets(grid: SweepGrid) -> tuple[str, ...]:
    """Names of the data sets in which at least `MIN_IMAGES` images have a complexity, and not all the same."""
    complexity = grid.per_image("complexity")
    found = []
    for name in grid.datasets:
        known = complexity[(grid.images["dataset"] == name).to_numpy(dtype=bool) & ~np.isnan(complexity)]
        if len(known) >= MIN_IMAGES and np.ptp(known) > 0:
            found.append(name)
    return tuple(found)


def scored_images(grid: SweepGrid, dataset: str) -> SweepGrid:
    """Return the grid of the images of one data set that have a complexity and an L1 at every length."""
    part = grid.dataset(dataset).complete(["l1"])
    return part.subset(~np.isnan(part.per_image("complexity")))


def correlation_table(grid: SweepGrid, thresholds: Sequence[float], bootstrap: BootstrapConfig) -> pd.DataFrame:
    """Spearman of complexity with L1 at each length, with the selected length, and with codec bytes where known.

    Returns:
        Columns dataset, images, kind ("loss", "length" or "codec"), setting (length, threshold or nan), predictor
        (words), value, low, high.
    """
    parts = []
    for name in scored_datasets(grid):
        here = scored_images(grid, name)
        selected = here.lengths[allocate_by_threshold(here, SelectionCriterion("l1"), thresholds).positions]
        labels = [
            *(("loss", float(length), f"L1 with {length} tokens") for length in here.lengths),
            *(("length", limit, f"length under L1 < {limit:g}") for limit in thresholds),
        ]
        parts.append(_correlation_rows(here, labels, [*here.score("l1").T, *selected.T], bootstrap))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CORRELATION_COLUMNS)


def error_correlations(grid: SweepGrid, columns: Sequence[str], bootstrap: BootstrapConfig) -> pd.DataFrame:
    """Spearman of complexity with several measures of error at the shortest, a middle and the longest length.

    Measures of which more is better are counted downwards, so that a value above 0 means worse where more complex.

    Args:
        grid: of one tokenizer.
        columns: scores such as l1, ssim and a perceptual distance; those that a data set lacks are left out there.
        bootstrap: how intervals are made.

    Returns:
        Columns as of `correlation_table`; kind is the measure's label, or "codec".
    """
    parts = []
    for name in scored_datasets(grid):
        here, labels, values = scored_images(grid, name), [], []
        for metric in (metric_info(column) for column in columns if np.isfinite(here.score(column)).all()):
            for place in shown_places(here):
                length = int(here.lengths[place])
                # `kind` names the network, so that `predictor` need not
                labels.append((metric.label, float(length), f"{metric.short} with {length} tokens"))
                values.append(-metric.sign * here.score(metric.column)[:, place])
        parts.append(_correlation_rows(here, labels, values, bootstrap))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CORRELATION_COLUMNS)


def shown_places(grid: SweepGrid) -> np.ndarray:
    """Return the places of the shortest, a middle and the longest length."""
    return np.unique([0, len(grid.lengths) // 2, len(grid.lengths) - 1])


def _correlation_rows(
    grid: SweepGrid,
    labels: Sequence[tuple[str, float, str]],
    values: Sequence[np.ndarray],
    bootstrap: BootstrapConfig,
) -> pd.DataFrame:
    """Correlate a data set's complexities with values (n,), labeled by kind, setting and predictor, and codec bytes."""
    codecs = grid.codecs()
    labels = [*labels, *(("codec", np.nan, CODEC_LABELS[column]) for column in codecs)]
    columns = np.stack([*values, *(grid.per_image(column) for column in codecs)], axis=1)
    samples = spearman_samples(grid.per_image("complexity"), columns, bootstrap)
    kinds, settings, predictors = zip(*labels, strict=True)
    return interval_table(
        samples,
        bootstrap.confidence,
        dataset=grid.datasets[0],
        images=len(grid),
        kind=kinds,
        setting=settings,
        predictor=predictors,
    )


def binned_losses(grid: SweepGrid, bootstrap: BootstrapConfig, bins: int = 6) -> pd.DataFrame:
    """Mean L1 at each length in bins of complexity that hold the same number of images (Fig. 4, 11, 12).

    Returns:
        Columns dataset, images, bin, complexity (mean of the bin), in_bin (images), setting (length), value, low, high.
    """
    scored = [scored_images(grid, name) for name in scored_datasets(grid)]
    parts = [row for here in scored for row in _binned(here, here.score("l1"), here.lengths, bootstrap, bins)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=BIN_COLUMNS)


def binned_lengths(
    grid: SweepGrid, thresholds: Sequence[float], bootstrap: BootstrapConfig, bins: int = 6
) -> pd.DataFrame:
    """Mean selected length under each L1 threshold in bins of complexity; columns as `binned_losses`."""
    parts = []
    for here in (scored_images(grid, name) for name in scored_datasets(grid)):
        selected = here.lengths[allocate_by_threshold(here, SelectionCriterion("l1"), thresholds).positions]
        parts += _binned(here, selected, np.asarray(thresholds), bootstrap, bins)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=BIN_COLUMNS)


def _binned(
    grid: SweepGrid, values: np.ndarray, settings: np.ndarray, bootstrap: BootstrapConfig, bins: int
) -> Iterator[pd.DataFrame]:
    """Yield, per bin of complexity, the means of values (n, k) at k settings."""
    complexity = grid.per_image("complexity")
    # Equal complexities stay in one bin: a bin is a range of complexity, not a slice of an arbitrary order.
    edges = np.unique(np.quantile(complexity, np.linspace(0, 1, bins + 1)[1:-1]))
    number = np.searchsorted(edges, complexity, side="left")
    for index in np.unique(number):
        inside = number == index
        samples = resampled_means(np.asarray(values[inside], dtype=np.float64), bootstrap.resamples, bootstrap.seed)
        yield interval_table(
            samples,
            bootstrap.confidence,
            dataset=grid.datasets[0],
            images=len(grid),
            bin=int(index),
            complexity=complexity[inside].mean(),
            in_bin=int(inside.sum()),
            setting=settings,
        )


class Fan(NamedTuple):
    """Whether complexity matters more at few tokens, on three scales, each (1 + r,) and above 0 where it does.

    An interaction depends on the scale, which nothing fixes: lines of L1 against complexity may open on the scale of
    the figure and be parallel on that of ratios.
    """

    fall: np.ndarray  # Spearman of complexity and the fall of L1 from the shortest to the longest length: as in Fig. 4
    difference: np.ndarray  # Spearman with L1 at the shortest length minus that at the longest: on any monotone scale
    ratio: np.ndarray  # Spearman of complexity and L1 at the shortest length over that at the longest


def fan_samples(grid: SweepGrid, bootstrap: BootstrapConfig) -> tuple[Fan, np.ndarray]:
    """Return the interaction of complexity and length, and Spearman with L1 at each length, (1 + r, l)."""
    losses = grid.score("l1")
    few, many = losses[:, :1], losses[:, -1:]
    values = np.concatenate([losses, few - many, few / np.maximum(many, np.finfo(np.float64).tiny)], axis=1)
    found = spearman_samples(grid.per_image("complexity"), values, bootstrap)
    return Fan(found[:, -2], found[:, 0] - found[:, -3], found[:, -1]), found[:, :-2]


def fan_table(data: StudyData) -> pd.DataFrame:
    """Return whether complexity matters more at few tokens on each set with complexities, as `fan_samples`.

    Returns:
        Columns dataset, images, measure (words), value, low, high.
    """
    parts = []
    for name in scored_datasets(data.grid):
        here = scored_images(data.grid, name)
        few, many = here.lengths[0], here.longest
        words = {
            "fall": f"Spearman with the fall of L1 from {few} to {many} tokens",
            "difference": f"Spearman with L1 at {few} tokens minus Spearman with L1 at {many}",
            "ratio": f"Spearman with L1 at {few} tokens over L1 at {many}",
        }
        found, _ = fan_samples(here, data.bootstrap)
        rows = interval_table(
            np.stack(found, axis=1),
            data.bootstrap.confidence,
            dataset=name,
            images=len(here),
            measure=[words[kind] for kind in found._fields],
        )
        parts.append(rows)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=FAN_COLUMNS)


def own_lengths(grid: SweepGrid, share: float = OWN_SHARE) -> np.ndarray:
    """Return (n,) the fewest tokens at which an image has made `share` of its own improvement in L1.

    The improvement runs from L1 at the shortest length to the lowest L1 at any, so that no threshold is common to all
    images, and none is out of reach. An image that no further tokens improve has the shortest length.
    """
    losses = grid.score("l1")
    best = losses.min(axis=1, keepdims=True)
    enough = losses <= best + (1 - share) * (losses[:, :1] - best)
    return grid.lengths[enough.argmax(axis=1)]


def held_fixed(grid: SweepGrid) -> dict[str, tuple[np.ndarray, ...]]:
    """Return what to hold fixed, in words -> (n,) each: nothing, each of `known_confounds`, and all of them."""
    known = known_confounds(grid)
    together = {" and ".join(known): tuple(known.values())} if len(known) > 1 else {}
    return {"nothing": (), **{name: (values,) for name, values in known.items()}, **together}


def partial_correlation_table(data: StudyData) -> pd.DataFrame:
    """Partial Spearman of complexity with loss and lengths, given nothing, each of `known_confounds`, and all of them.

    Loss at the shortest, the middle and the longest length; length under the L1 threshold of `middle_threshold`; length
    at which an image has made 90 % of its own improvement (`own_lengths`).

    Returns:
        Columns dataset, images, threshold, predictor (words), given (words), value, low, high.
    """
    parts = []
    for name in scored_datasets(data.grid):
        here = scored_images(data.grid, name)
        threshold, places = middle_threshold(here, data.settings.l1_thresholds), shown_places(here)
        lengths = here.lengths[allocate_by_threshold(here, SelectionCriterion("l1"), [threshold]).positions]
        values = np.concatenate([here.score("l1")[:, places], lengths, own_lengths(here)[:, None]], axis=1)
        for given, held in held_fixed(here).items():
            samples = partial_spearman_samples(here.per_image("complexity"), values, held, data.bootstrap)
            rows = interval_table(
                samples,
                data.bootstrap.confidence,
                dataset=name,
                images=len(here),
                threshold=threshold,
                predictor=[
                    *(f"L1 with {here.lengths[place]} tokens" for place in places),
                    "selected length",
                    f"length of {OWN_SHARE:.0%} of its own improvement",
                ],
                given=given,
            )
            parts.append(rows)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=PARTIAL_COLUMNS)


class Levels(NamedTuple):
    """Loss or selected length of s scenes at f levels of one factor, each under k settings."""

    factor: str
    kind: Literal["loss", "length"]
    settings: np.ndarray  # (k,) lengths at which the loss is taken, or L1 thresholds of the selected length
    levels: np.ndarray  # (f,) ascending, 0 to 100
    values: np.ndarray  # (f, s, k)

    def sample_rise(self, bootstrap: BootstrapConfig) -> np.ndarray:
        """Return (1 + r, k) mean changes of the same scenes from the lowest to the highest level."""
        return resampled_means(self.values[-1] - self.values[0], bootstrap.resamples, bootstrap.seed)


def measured_levels(data: StudyData) -> Iterator[Levels]:
    """Yield, per factor, L1 at every length, then the length under one L1 threshold; nothing without such scenes.

    The threshold is that of `middle_threshold` over all controlled scenes, which does not depend on their levels.
    """
    if data.controlled_scenes is None:
        return
    grid = data.controlled_scenes
    threshold = middle_threshold(grid, data.settings.l1_thresholds)
    for factor in grid.datasets:
        here = grid.dataset(factor)
        levels, places = scenes_by_level(here)
        selected = here.lengths[allocate_by_threshold(here, SelectionCriterion("l1"), [threshold]).positions]
        yield Levels(factor, "loss", here.lengths, levels, here.score("l1")[places])
        yield Levels(factor, "length", np.array([threshold]), levels, selected[places].astype(np.float64))


def scenes_by_level(grid: SweepGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels (f,) of one factor, ascending, and the numbers (f, s) of the same s scenes at each.

    Scenes come in one order at every level: the order in which the data set was made.

    Raises:
        DataError: the levels have different numbers of scenes.
    """
    complexity = grid.per_image("complexity")
    levels, counts = np.unique(complexity, return_counts=True)
    if len(set(counts)) != 1:
        raise DataError(
            f"expected as many scenes of {grid.datasets[0]} at each level, found {', '.join(map(str, counts))}; "
            "run the stages data and sweep again"
        )
    return levels, rearrange(np.argsort(complexity, kind="stable"), "(f s) -> f s", f=len(levels))


def level_table(data: StudyData) -> pd.DataFrame:
    """Return mean L1 and mean selected length at each level.

    Returns:
        Columns dataset (the factor), images (scenes), kind, setting, complexity (the level), value, low, high.
    """
    parts = []
    for found in measured_levels(data):
        flat = rearrange(found.values, "f s k -> s (f k)")
        level, setting = np.meshgrid(found.levels, found.settings, indexing="ij")
        rows = interval_table(
            resampled_means(flat, data.bootstrap.resamples, data.bootstrap.seed),
            data.bootstrap.confidence,
            dataset=found.factor,
            images=len(flat),
            kind=found.kind,
            setting=setting.ravel(),
            complexity=level.ravel(),
        )
        parts.append(rows)
    columns = [*RISE_COLUMNS[:4], "complexity", *RISE_COLUMNS[4:]]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def rise_table(data: StudyData) -> pd.DataFrame:
    """Return the paired changes from the lowest to the highest level; columns as `level_table` but complexity."""
    parts = []
    for found in measured_levels(data):
        rows = interval_table(
            found.sample_rise(data.bootstrap),
            data.bootstrap.confidence,
            dataset=found.factor,
            images=found.values.shape[1],
            kind=found.kind,
            setting=found.settings,
        )
        parts.append(rows)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=RISE_COLUMNS)


def tabulate(rises: pd.DataFrame) -> pd.DataFrame:
    """Return a rise table with a row per setting, a column per factor, and intervals in the cells."""
    words = {"loss": "L1 with {:g} tokens", "length": "length under L1 < {:g}"}
    table = pd.DataFrame(
        {
            "rise of": [words[kind].format(value) for kind, value in zip(rises["kind"], rises["setting"], strict=True)],
            "factor": rises["dataset"],
            "cell": [
                f"{value:+.3g} [{low:.3g}, {high:.3g}]"
                for value, low, high in rises[["value", "low", "high"]].itertuples(index=False)
            ],
        }
    )
    wide = table.pivot(index="rise of", columns="factor", values="cell")
    return wide.loc[table["rise of"].unique(), table["factor"].unique()]
